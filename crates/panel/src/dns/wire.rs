//! Updates and questions to one name server, over TCP. The only file that knows `hickory_proto`.
//!
//! An update says what must be there (RFC 2136 §2.4) for it to be done: what we wrote last, or nothing. So a record that
//! somebody else has changed is never written over. It is signed with TSIG (RFC 8945), and so must the answer be.

use std::net::IpAddr;
use std::time::Duration;

use data_encoding::BASE64;
use hickory_proto::op::{Message, OpCode, Query, ResponseCode, UpdateMessage};
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::rdata::{A, AAAA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, TSigner};
use model::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::records::Records;

/// For one question and its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Seconds by which the clocks may differ.
const FUDGE_S: u16 = 300;
/// Where the test of a zone writes.
const PROBE: &str = "_badgerpanel-probe";

/// Why a name server did not do it, by what to do about that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// It does not answer. Time may help.
    #[error("the name server {0} cannot be reached: {1}")]
    Unreachable(String, String),
    /// It answers, and will not. Something about the key or what it may.
    #[error("the name server refuses: {0}")]
    Refused(String),
    /// Something else is there than what we wrote.
    #[error("somebody else has changed the record")]
    Changed,
    /// What we were told cannot be used.
    #[error("{0}")]
    Unusable(String),
}

/// A zone, and how to change it.
#[derive(Clone)]
pub struct Zone {
    server: String,
    origin: Name,
    signer: TSigner,
}

/// The words for the algorithms of a key.
pub const ALGORITHMS: [&str; 3] = ["hmac-sha256", "hmac-sha384", "hmac-sha512"];

impl Zone {
    /// A zone whose key has this secret in base64.
    pub fn new(name: &str, server: &str, key: (&str, &str, &str)) -> Result<Self, DnsError> {
        let (key_name, algorithm, secret) = key;
        let algorithm = match algorithm {
            "hmac-sha256" => TsigAlgorithm::HmacSha256,
            "hmac-sha384" => TsigAlgorithm::HmacSha384,
            "hmac-sha512" => TsigAlgorithm::HmacSha512,
            other => return Err(DnsError::Unusable(format!("{other} is no algorithm of ours"))),
        };
        let secret = BASE64.decode(secret.as_bytes());
        let secret = secret.map_err(|_| DnsError::Unusable("the key's secret is not base64".to_owned()))?;
        let signer = TSigner::new(secret, algorithm, parse(key_name)?, FUDGE_S);
        let signer = signer.map_err(|error| DnsError::Unusable(error.to_string()))?;
        Ok(Self { server: server.to_owned(), origin: parse(name)?, signer })
    }

    /// Makes the records of `name` what they should be, if they are what was `written`; none for no records.
    pub async fn change(
        &self,
        name: &str,
        written: Option<&Records>,
        wanted: Option<&Records>,
        now: Timestamp,
    ) -> Result<(), DnsError> {
        let mut message = self.update();
        self.require(&mut message, name, written, wanted)?;
        for record in written.map(|records| self.records(name, records)).transpose()?.unwrap_or_default() {
            message.add_update(of_class(record, DNSClass::NONE));
        }
        message.add_updates(wanted.map(|records| self.records(name, records)).transpose()?.unwrap_or_default());
        self.send(message, now).await
    }

    /// Whether an update of `name` would be done now. Changes nothing.
    pub async fn would_change(&self, name: &str, written: Option<&Records>, now: Timestamp) -> Result<(), DnsError> {
        let mut message = self.update();
        self.require(&mut message, name, written, None)?;
        self.send(message, now).await
    }

    /// Whether the key may change the zone: a record of no importance is written and removed.
    pub async fn test(&self, now: Timestamp) -> Result<(), DnsError> {
        let name = self.name(PROBE)?;
        let record = Record::from_rdata(name, 0, RData::TXT(TXT::new(vec!["BadgerPanel tests this zone".to_owned()])));
        let mut message = self.update();
        message.add_update(record.clone());
        self.send(message, now).await?;
        let mut message = self.update();
        message.add_update(of_class(record, DNSClass::NONE));
        self.send(message, now).await
    }

    /// What the name server itself says of `name`. None if it has no address there, or more than one.
    pub async fn look(&self, name: &str, service: Option<&str>) -> Result<Option<Records>, DnsError> {
        let own = self.name(name)?;
        let mut found = self.ask(own.clone(), RecordType::A).await?;
        found.extend(self.ask(own, RecordType::AAAA).await?);
        let [record] = found.as_slice() else { return Ok(None) };
        let address = match &record.data {
            RData::A(address) => IpAddr::V4(address.0),
            RData::AAAA(address) => IpAddr::V6(address.0),
            _ => return Ok(None),
        };
        let ttl = record.ttl;
        let Some(service) = service else { return Ok(Some(Records { address, service: None, ttl })) };
        let services = self.ask(self.name(&format!("{service}.{name}"))?, RecordType::SRV).await?;
        let port = match services.as_slice() {
            [Record { data: RData::SRV(srv), .. }] => Some((service.to_owned(), srv.port)),
            _ => None,
        };
        Ok(Some(Records { address, service: port, ttl }))
    }

    /// What must be there: all that was written, and nothing in the places that are going to be written.
    fn require(
        &self,
        message: &mut Message,
        name: &str,
        written: Option<&Records>,
        wanted: Option<&Records>,
    ) -> Result<(), DnsError> {
        let there = written.map(|records| self.records(name, records)).transpose()?.unwrap_or_default();
        let mut empty: Vec<(Name, RecordType)> = [RecordType::A, RecordType::AAAA]
            .into_iter()
            .map(|kind| Ok((self.name(name)?, kind)))
            .collect::<Result<_, _>>()?;
        for records in [written, wanted].into_iter().flatten() {
            if let Some((service, _)) = &records.service {
                empty.push((self.name(&format!("{service}.{name}"))?, RecordType::SRV));
            }
        }
        empty.retain(|(name, kind)| !there.iter().any(|record| record.name == *name && record.record_type() == *kind));
        empty.dedup();
        message.add_pre_requisites(there.into_iter().map(|record| of_class(record, DNSClass::IN)));
        message.add_pre_requisites(
            empty.into_iter().map(|(name, kind)| of_class(Record::update0(name, 0, kind), DNSClass::NONE)),
        );
        Ok(())
    }

    fn records(&self, name: &str, records: &Records) -> Result<Vec<Record>, DnsError> {
        let own = self.name(name)?;
        let data = match records.address {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        };
        let mut all = vec![Record::from_rdata(own.clone(), records.ttl, data)];
        if let Some((service, port)) = &records.service {
            let data = RData::SRV(SRV::new(0, 0, *port, own));
            all.push(Record::from_rdata(self.name(&format!("{service}.{name}"))?, records.ttl, data));
        }
        Ok(all)
    }

    fn name(&self, within: &str) -> Result<Name, DnsError> {
        if within == "@" {
            return Ok(self.origin.clone());
        }
        // The zone itself: `_minecraft._tcp.@` is its service.
        let within = within.strip_suffix(".@").unwrap_or(within);
        let relative = Name::from_ascii(within).map_err(|error| DnsError::Unusable(format!("{within}: {error}")))?;
        let mut whole = relative.append_domain(&self.origin).map_err(|error| DnsError::Unusable(error.to_string()))?;
        whole.set_fqdn(true);
        Ok(whole)
    }

    fn update(&self) -> Message {
        let mut message = Message::query();
        message.metadata.op_code = OpCode::Update;
        message.metadata.recursion_desired = false;
        message.add_zone(Query::query(self.origin.clone(), RecordType::SOA));
        message
    }

    /// Signs an update, sends it, and believes an answer that is signed.
    async fn send(&self, mut message: Message, now: Timestamp) -> Result<(), DnsError> {
        let unusable = |error: &dyn std::fmt::Display| DnsError::Unusable(error.to_string());
        let time = u64::try_from(now.as_second()).unwrap_or_default();
        let verifier = message.finalize(&self.signer, time).map_err(|error| unusable(&error))?;
        let bytes = message.to_vec().map_err(|error| unusable(&error))?;
        let answer = self.exchange(&bytes).await?;
        let mut verifier = verifier.ok_or_else(|| unusable(&"an update was not signed"))?;
        match verifier.verify(&answer) {
            Ok(answer) if answer.metadata.id == message.metadata.id => judge(answer.metadata.response_code),
            Ok(_) => Err(DnsError::Refused("its answer is to another question".to_owned())),
            Err(error) => Err(DnsError::Refused(unsigned(&answer, &error.to_string()))),
        }
    }

    async fn ask(&self, name: Name, kind: RecordType) -> Result<Vec<Record>, DnsError> {
        let unusable = |error: &dyn std::fmt::Display| DnsError::Unusable(error.to_string());
        let mut message = Message::query();
        message.metadata.recursion_desired = false;
        message.add_query(Query::query(name, kind));
        let bytes = message.to_vec().map_err(|error| unusable(&error))?;
        let answer = Message::from_vec(&self.exchange(&bytes).await?).map_err(|error| unusable(&error))?;
        match answer.metadata.response_code {
            ResponseCode::NoError if answer.metadata.authoritative => {
                Ok(answer.answers.into_iter().filter(|record| record.record_type() == kind).collect())
            }
            ResponseCode::NXDomain => Ok(Vec::new()),
            ResponseCode::NoError => Err(DnsError::Refused("it is no authority for this zone".to_owned())),
            code => Err(DnsError::Refused(code.to_string())),
        }
    }

    async fn exchange(&self, message: &[u8]) -> Result<Vec<u8>, DnsError> {
        let unreachable = |why: String| DnsError::Unreachable(self.server.clone(), why);
        let length = u16::try_from(message.len()).map_err(|error| DnsError::Unusable(error.to_string()))?;
        let talk = async {
            let mut stream = TcpStream::connect(&self.server).await?;
            stream.write_all(&[&length.to_be_bytes()[..], message].concat()).await?;
            let mut answer = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        match timeout(PATIENCE, talk).await {
            Ok(talked) => talked.map_err(|error| unreachable(error.to_string())),
            Err(_) => Err(unreachable(format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }
}

/// A record as the sections of an update have it where no TTL counts: NONE is "must not be" and "is removed".
fn of_class(mut record: Record, class: DNSClass) -> Record {
    record.dns_class = class;
    record.ttl = 0;
    record
}

/// What the answer to an update means (RFC 2136 §2.2).
fn judge(code: ResponseCode) -> Result<(), DnsError> {
    match code {
        ResponseCode::NoError => Ok(()),
        ResponseCode::YXDomain | ResponseCode::YXRRSet | ResponseCode::NXRRSet | ResponseCode::NXDomain => {
            Err(DnsError::Changed)
        }
        ResponseCode::Refused => Err(DnsError::Refused("the key may not change this zone or name".to_owned())),
        ResponseCode::NotAuth | ResponseCode::NotZone => {
            Err(DnsError::Refused("it is not the primary server of this zone".to_owned()))
        }
        code => Err(DnsError::Refused(code.to_string())),
    }
}

/// What an answer says that is not signed by our key: as a rule, that the key is not known.
fn unsigned(answer: &[u8], why: &str) -> String {
    match Message::from_vec(answer) {
        Ok(answer) if answer.metadata.response_code == ResponseCode::NotAuth => {
            "it does not know this key, its secret is another one, or the clocks differ".to_owned()
        }
        Ok(answer) if answer.metadata.response_code != ResponseCode::NoError => {
            format!("{} (not signed)", answer.metadata.response_code)
        }
        _ => format!("its answer is not signed by this key: {why}"),
    }
}

fn parse(name: &str) -> Result<Name, DnsError> {
    let mut name = Name::from_ascii(name).map_err(|error| DnsError::Unusable(format!("{name}: {error}")))?;
    name.set_fqdn(true);
    Ok(name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn zone() -> Zone {
        Zone::new("game.test", "127.0.0.1:1", ("key", "hmac-sha256", "c2VjcmV0")).unwrap()
    }

    fn records(address: &str, port: Option<u16>) -> Records {
        let service = port.map(|port| ("_minecraft._tcp".to_owned(), port));
        Records { address: address.parse().unwrap(), service, ttl: 300 }
    }

    #[test]
    fn an_update_requires_what_was_written_and_nothing_where_nothing_was() {
        let (zone, mut message) = (zone(), zone().update());
        let (old, new) = (records("203.0.113.7", None), records("2001:db8::1", Some(25565)));
        zone.require(&mut message, "survival", Some(&old), Some(&new)).unwrap();
        let seen: Vec<_> =
            message.answers.iter().map(|it| (it.name.to_string(), it.record_type(), it.dns_class)).collect();
        let own = "survival.game.test.".to_owned();
        let expected = [
            (own.clone(), RecordType::A, DNSClass::IN),
            (own, RecordType::AAAA, DNSClass::NONE),
            ("_minecraft._tcp.survival.game.test.".to_owned(), RecordType::SRV, DNSClass::NONE),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn names_are_within_the_zone_and_the_zone_itself_is_one() {
        assert_eq!(zone().name("a.b").unwrap().to_string(), "a.b.game.test.");
        assert_eq!(zone().name("@").unwrap().to_string(), "game.test.");
        assert_eq!(zone().name("_x._tcp.@").unwrap().to_string(), "_x._tcp.game.test.");
    }

    #[test]
    fn a_key_that_cannot_be_used_is_said() {
        for key in [("key", "hmac-md5", "c2VjcmV0"), ("key", "hmac-sha256", "no base64!")] {
            assert!(matches!(Zone::new("game.test", "s:53", key), Err(DnsError::Unusable(_))), "{key:?}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_said_to_be_unreachable() {
        let error = zone().test(Timestamp::UNIX_EPOCH).await.unwrap_err();
        assert!(matches!(error, DnsError::Unreachable(..)), "{error}");
    }
}
