import { Schema } from "effect"

/** The rule of the policy that a request broke. */
export const Rule = Schema.Literals(["url", "scheme", "host", "port", "address", "own_endpoint", "request"])

/** Policy said no: nothing was sent. */
export class Refused extends Schema.TaggedClass<Refused>("valetkey/egress/Refused")("Refused", { rule: Rule }) {}

/** No connection came about (name resolution, connect, TLS): nothing was sent. */
export class Unreachable extends Schema.TaggedClass<Unreachable>("valetkey/egress/Unreachable")("Unreachable", {
  /** The system's code, such as `ECONNREFUSED`, for logs. */
  detail: Schema.String
}) {}

/** The exchange ended before a whole response was read; if `sent`, its outcome is unknown. */
export class Interrupted extends Schema.TaggedClass<Interrupted>("valetkey/egress/Interrupted")("Interrupted", {
  sent: Schema.Boolean,
  detail: Schema.String
}) {}

/** A deadline passed; if `sent`, the outcome is unknown. */
export class Timeout extends Schema.TaggedClass<Timeout>("valetkey/egress/Timeout")("Timeout", {
  sent: Schema.Boolean,
  phase: Schema.Literals(["connect", "headers", "body", "total"])
}) {}

/** The response is larger than the caller's cap. */
export class TooLarge extends Schema.TaggedClass<TooLarge>("valetkey/egress/TooLarge")("TooLarge", {
  limit: Schema.Int
}) {}

/** The endpoint answered with a redirect, which is never followed. */
export class Redirected extends Schema.TaggedClass<Redirected>("valetkey/egress/Redirected")("Redirected", {
  status: Schema.Int
}) {}

/** Every way in which a request that leaves can fail. */
export const Reason = Schema.Union([Refused, Unreachable, Interrupted, Timeout, TooLarge, Redirected])

/** Every way in which a request that leaves can fail. */
export type Reason = typeof Reason.Type

/** Failure of a request that leaves. Its message never holds the URL, a header or a byte of the response. */
export class EgressError extends Schema.TaggedError<EgressError>("valetkey/egress/EgressError")("EgressError", {
  reason: Reason
}) {
  /** False only when certainly no byte of the request left; true means that the outcome may be unknown. */
  get sent(): boolean {
    switch (this.reason._tag) {
      case "Refused":
      case "Unreachable":
        return false
      case "Interrupted":
      case "Timeout":
        return this.reason.sent
      case "TooLarge":
      case "Redirected":
        return true
    }
  }

  /** Stable code of the reason. */
  get code(): keyof typeof sentences {
    return codes[this.reason._tag]
  }

  override get message() {
    return sentences[this.code]
  }
}

const codes = {
  Refused: "egress_refused",
  Unreachable: "egress_unreachable",
  Interrupted: "egress_interrupted",
  Timeout: "egress_timeout",
  TooLarge: "egress_too_large",
  Redirected: "egress_redirected"
} as const

const sentences = {
  egress_refused: "This address may not be called from here. Use a public https URL, or allow the endpoint explicitly.",
  egress_unreachable: "The endpoint could not be reached. Check its URL and try again.",
  egress_interrupted: "The connection ended before the answer was complete. Try again later.",
  egress_timeout: "The endpoint did not answer in time. Try again later.",
  egress_too_large: "The endpoint's answer is larger than allowed. Check its URL.",
  egress_redirected: "The endpoint answered with a redirect, which is not followed. Use the final URL."
} as const
