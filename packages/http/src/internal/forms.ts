import * as CallbackRequest from "@valetkey/domain/CallbackRequest"
import { ByteSize, Effect, Option, Redacted } from "effect"
import { MaxBodySize } from "effect/http/HttpIncomingMessage"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { hash, timingSafeEqual } from "node:crypto"
import * as Page from "../Page.ts"

/** The largest form that is read: ours have one field. */
const maxForm = ByteSize.fromInputUnsafe("4 KiB")

/** What is answered by its shape alone. */
export const refusal = (
  request: HttpServerRequest.HttpServerRequest
): HttpServerResponse.HttpServerResponse | undefined => {
  if (request.method !== "GET" && request.method !== "POST") {
    return HttpServerResponse.empty({ status: 405, headers: { ...Page.headers, allow: "GET, POST" } })
  }
  return CallbackRequest.looksAhead(request.headers)
    ? HttpServerResponse.empty({ status: 204, headers: Page.headers })
    : undefined
}

/** Whether a browser says that a page of this origin sent the form. What says nothing is no browser that we know. */
export const comesFromHere = (
  headers: { readonly [name: string]: string | undefined },
  origin: string | undefined
): boolean => {
  const site = headers["sec-fetch-site"]
  if (origin === undefined || headers["origin"] === undefined && site === undefined) return false
  return (headers["origin"] ?? origin) === origin && (site ?? "same-origin") === "same-origin"
}

/** Whether the form of a request sends this token back, and no other besides. */
export const holdsToken = (request: HttpServerRequest.HttpServerRequest, token: string): Effect.Effect<boolean> =>
  Effect.map(
    Effect.option(Effect.provideService(request.urlParamsBody, MaxBodySize, maxForm)),
    (form) => {
      const tokens = Option.match(form, { onNone: () => [], onSome: ({ params }) => params })
        .flatMap(([name, value]) =>
          name === "token" ? [Redacted.isRedacted(value) ? Redacted.value(value) : value] : []
        )
      return tokens.length === 1 && equal(tokens[0] ?? "", token)
    }
  )

/** What a form sends back: known to the pages of the browser that holds the secret, for this purpose alone. */
export const tokenOf = (label: string, secret: Redacted.Redacted, purpose: string): string =>
  hash("sha256", `valetkey ${label} form ${Redacted.value(secret)} ${purpose}`, "base64url")

const equal = (one: string, other: string): boolean =>
  timingSafeEqual(hash("sha256", one, "buffer"), hash("sha256", other, "buffer"))
