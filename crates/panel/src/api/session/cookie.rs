//! The cookie that keeps a browser logged in: the refresh token, where no script can read it.

use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};

use crate::access::token::REFRESH_S;
use crate::api::ApiError;

const NAME: &str = "badger_refresh";
/// It is sent to the routes that need it, and to nothing else.
const PATH: &str = "/api/v1/auth";

/// The refresh token that a browser sent along.
pub(super) fn refresh_token(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut cookies = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    cookies.find(|(name, _)| *name == NAME).map(|(_, value)| value.to_owned())
}

/// `answer` with the cookie that holds `token`.
pub(super) fn keep(answer: impl IntoResponse, token: &str, is_https: bool) -> Result<Response, ApiError> {
    with_cookie(answer, token, REFRESH_S, is_https)
}

/// `answer` with the word to forget the cookie.
pub(super) fn forget(answer: impl IntoResponse, is_https: bool) -> Result<Response, ApiError> {
    with_cookie(answer, "", 0, is_https)
}

fn with_cookie(answer: impl IntoResponse, token: &str, age_s: i64, is_https: bool) -> Result<Response, ApiError> {
    let secure = if is_https { "; Secure" } else { "" };
    let cookie = format!("{NAME}={token}; Path={PATH}; Max-Age={age_s}; HttpOnly; SameSite=Strict{secure}");
    let mut response = answer.into_response();
    response.headers_mut().append(SET_COOKIE, HeaderValue::try_from(cookie).map_err(ApiError::internal)?);
    Ok(response)
}

/// Refuses what a page of somebody else makes a browser send.
pub(super) fn same_site(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get("sec-fetch-site") {
        Some(site) if site == "cross-site" => Err(ApiError::new(
            axum::http::StatusCode::FORBIDDEN,
            "cross_site",
            "Another site's page asked for this. Open the panel itself.",
        )),
        _ => Ok(()),
    }
}
