import { Effect, Result } from "effect"
import type { Egress, EgressOptions } from "./Egress.ts"
import { EgressError, Refused } from "./EgressError.ts"

/** Error that a `fetch` of `asFetch` throws; `error` says whether anything was sent. */
export class EgressFetchError extends Error {
  readonly error: EgressError
  constructor(error: EgressError) {
    super(error.message)
    this.name = "EgressFetchError"
    this.error = error
  }
}

/** Finds the EgressError that a thrown value carries, itself or in its chain of causes. */
export const findEgressError = (thrown: unknown): EgressError | undefined => {
  for (let depth = 0, error = thrown; depth < 8 && error instanceof Error; depth++, error = error.cause) {
    if (error instanceof EgressFetchError) return error.error
    if (error instanceof EgressError) return error
  }
  return undefined
}

/**
 * Offers the guarded client as a `fetch`, for libraries that take one (`customFetch` of oauth4webapi).
 *
 * `trust` is either the trust of what led to the requests, or all options of `Egress.execute`. Redirects are never
 * followed, whatever the caller asks for.
 */
export const asFetch = (
  egress: Egress["Service"],
  trust: EgressOptions["trust"] | Omit<EgressOptions, "signal">
): typeof fetch => {
  const options = typeof trust === "string" ? { trust } : trust
  return async (input, init) => {
    const request = requestOf(input, init)
    const body = request.body === null ? undefined : new Uint8Array(await request.arrayBuffer())
    const result = await Effect.runPromise(Effect.result(egress.execute(
      { method: request.method, url: request.url, headers: Object.fromEntries(request.headers), body },
      { ...options, signal: request.signal }
    )))
    if (Result.isFailure(result)) throw new EgressFetchError(result.failure)
    const { body: bytes, headers, status } = result.success
    const empty = status === 204 || status === 205 || status === 304
    return new Response(empty ? null : Uint8Array.from(bytes), { status, headers })
  }
}

/** The platform's own errors quote header values and URLs, so none of them gets out. */
const requestOf = (input: RequestInfo | URL, init: RequestInit | undefined): Request => {
  try {
    return new Request(input, { ...init, redirect: "manual" })
  } catch {
    throw new EgressFetchError(new EgressError({ reason: new Refused({ rule: "request" }) }))
  }
}
