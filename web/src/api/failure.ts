// The one kind of error of the interface: what the panel said, or that it said nothing.

export class ApiFailure extends Error {
  override readonly name = 'ApiFailure';
  readonly status: number;
  readonly code: string;
  readonly details: Record<string, unknown>;

  constructor(status: number, code: string, message: string, details: Record<string, unknown> = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.details = details;
  }

  /** From an answer that is no success. */
  static from(response: Response, body: unknown): ApiFailure {
    const error = isRecord(body) && isRecord(body['error']) ? body['error'] : {};
    const text = (value: unknown, otherwise: string) => (typeof value === 'string' && value !== '' ? value : otherwise);
    const message = text(error['message'], `The panel answered with status ${response.status} and said nothing else.`);
    const details = isRecord(error['details']) ? error['details'] : {};
    return new ApiFailure(response.status, text(error['code'], 'unknown'), message, details);
  }

  /** What is wrong with single fields, if that is what was wrong. */
  get fields(): Record<string, string> {
    if (this.code !== 'validation_error') return {};
    const first = (value: unknown) => (Array.isArray(value) ? value.map(String).join(', ') : String(value));
    return Object.fromEntries(Object.entries(this.details).map(([field, problems]) => [field, first(problems)]));
  }

  /** The message, and for a refused form also the problems of its fields. */
  get full(): string {
    const fields = Object.entries(this.fields).map(([field, problem]) => `${field} ${problem}`);
    return fields.length > 0 ? fields.join('; ') : this.message;
  }
}

/** Anything that was thrown as an `ApiFailure`. */
export function failureOf(error: unknown): ApiFailure {
  if (error instanceof ApiFailure) return error;
  if (error instanceof TypeError) {
    return new ApiFailure(0, 'unreachable', 'The panel does not answer. Check the connection and whether the panel runs.');
  }
  return new ApiFailure(0, 'unknown', error instanceof Error ? error.message : String(error));
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
