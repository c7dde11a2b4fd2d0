import { ApiProblem } from "@valetkey/api/ApiProblem"
import { Effect } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import { render } from "./ProblemResponse.ts"

/** Which requests the API listener takes at all. */
export interface OriginGuardOptions {
  /** `Host` values of the listener, with port. Undefined takes any: for a socket that no browser can reach. */
  readonly hosts?: ReadonlyArray<string> | undefined
  /** Origins whose pages may call. None unless named. */
  readonly origins?: ReadonlyArray<string> | undefined
}

/**
 * Middleware that refuses what a web page may have sent: an `Origin` that is not named, what a page of elsewhere loads
 * without one, or a `Host` that leads here through somebody's DNS.
 */
export const make = (options: OriginGuardOptions) =>
  HttpRouter.middleware((httpEffect) =>
    Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
      const refusal = refuse(options, request.headers)
      return refusal === undefined ? httpEffect : Effect.succeed(render(refusal))
    })
  )

/** Why a request is refused by its headers, or undefined when it is not. */
export const refuse = (
  { hosts, origins }: OriginGuardOptions,
  headers: { readonly [name: string]: string | undefined }
): ApiProblem | undefined => {
  const { host, origin } = headers
  if (origin === undefined ? isLoadedElsewhere(headers) : origins?.includes(origin) !== true) {
    return ApiProblem.of(
      "origin_refused",
      "Web pages may not call this API; name the origin in the configuration if one must"
    )
  }
  if (hosts !== undefined && (host === undefined || !hosts.includes(host.toLowerCase()))) {
    return ApiProblem.of("host_refused", "This server does not answer for that host; use the address it listens on")
  }
  return undefined
}

/** Whether a page of another origin had it loaded, as an image or a frame is. A link that a person follows is not. */
const isLoadedElsewhere = (headers: { readonly [name: string]: string | undefined }): boolean => {
  const { "sec-fetch-dest": dest, "sec-fetch-mode": mode, "sec-fetch-site": site } = headers
  return (site === "cross-site" || site === "same-site") && !(mode === "navigate" && dest === "document")
}
