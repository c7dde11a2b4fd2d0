import type { TokenDialect } from "@valetkey/domain/Server"
import { trustOf } from "@valetkey/egress/AddressPolicy"
import type { Egress, EgressOptions } from "@valetkey/egress/Egress"
import { asFetch } from "@valetkey/egress/EgressFetch"
import type { Duration } from "effect"
import { allowInsecureRequests, customFetch } from "oauth4webapi"
import type { KeySets } from "./keySets.ts"
import type { Proofs } from "./proofs.ts"

/** The guarded client, with the deadline of each kind of request. */
export interface Outbound {
  readonly egress: Egress["Service"]
  readonly discovery: Duration.Duration
  readonly token: Duration.Duration
  readonly revocation: Duration.Duration
  readonly introspection: Duration.Duration
  readonly proofs: Proofs
  readonly keySets: KeySets
}

/** Options of one guarded request; `origin` is the URL that led to it and decides what it may reach. */
export const egressOptions = (origin: string, deadline: Duration.Duration): EgressOptions => ({
  trust: trustOf(origin),
  headersTimeout: deadline,
  idleTimeout: deadline,
  timeout: deadline
})

/**
 * Options that make oauth4webapi send through the guarded client.
 *
 * Plain http is a matter of the guard, which lets it pass for loopback resources and listed endpoints alone; here the
 * recorded endpoint's own scheme decides, so that an https endpoint can never become an http one.
 */
export const requestOptions = (input: {
  readonly egress: Egress["Service"]
  readonly endpoint: string
  readonly origin: string
  readonly deadline: Duration.Duration
  readonly signal: AbortSignal
  /** Default `form`. */
  readonly body?: Body | undefined
}) => ({
  [customFetch]: written(
    input.body,
    asFetch(input.egress, egressOptions(input.origin, input.deadline))
  ),
  [allowInsecureRequests]: new URL(input.endpoint).protocol === "http:",
  signal: input.signal
})

type Body = NonNullable<TokenDialect["requestBody"]> | "none"

/** A fetch that writes the form of a request as a JSON object, each parameter a string, or leaves it out. */
const written = (body: Body | undefined, fetch: Fetch): Fetch =>
  body !== "json" && body !== "none"
    ? fetch
    : (input, { body: form, ...init } = {}) => {
      const headers = new Headers(init.headers)
      headers.delete("content-type")
      if (body === "none") return fetch(input, { ...init, headers })
      headers.set("content-type", "application/json")
      const parameters = Object.fromEntries(new URLSearchParams(String(form)))
      return fetch(input, { ...init, headers, body: JSON.stringify(parameters) })
    }

type Fetch = ReturnType<typeof asFetch>
