import { DiscoveryError } from "@valetkey/domain/AuthorizationServer"
import type { Egress } from "@valetkey/egress/Egress"
import { EgressError, Redirected } from "@valetkey/egress/EgressError"
import { type Duration, Effect } from "effect"
import { type Members, parseObject } from "./jsonObject.ts"
import { egressOptions } from "./outbound.ts"

/** A well-known URL answered in a way that says nothing about whether there is a document: 429 or 5xx. */
export class Unavailable extends Error {
  readonly _tag = "Unavailable"
}

/** How many redirects lead to a document at most; each is judged anew by the guard. */
const maxRedirects = 2

/**
 * Gets a JSON document; undefined when there is none: a 4xx, or a page that is not JSON.
 *
 * A server that is down says nothing about its documents, so that is a failure and never a reason to ask elsewhere.
 */
export const getDocument = (
  egress: Egress["Service"],
  url: string,
  origin: string,
  deadline: Duration.Duration
): Effect.Effect<Members | undefined, EgressError | Unavailable> =>
  Effect.gen(function*() {
    let target = new URL(url)
    for (let hops = 0; hops <= maxRedirects; hops++) {
      const response = yield* egress.execute(
        { method: "GET", url: target, headers: { accept: "application/json" } },
        { ...egressOptions(origin, deadline), redirect: "response" }
      )
      if (response.status === 429 || response.status >= 500) return yield* Effect.fail(new Unavailable())
      if (response.status === 200) return parse(response.body)
      if (response.status < 300 || response.status >= 400) return undefined
      const location = URL.parse(response.headers["location"] ?? "", target)
      if (location === null) return undefined
      if (location.protocol !== target.protocol) break
      target = location
    }
    return yield* new EgressError({ reason: new Redirected({ status: 302 }) })
  })

/** What it means for discovery that a document could not be read; `down` says whose server did not answer. */
export const documentFailure =
  (down: "resource_unreachable" | "authorization_server_unreachable") =>
  (cause: EgressError | Unavailable): DiscoveryError =>
    new DiscoveryError({ code: cause._tag === "Unavailable" ? down : codes[cause.reason._tag] ?? down, cause })

/** An endless document and one behind endless redirects are there, and no good. */
const codes: { readonly [Tag in EgressError["reason"]["_tag"]]?: DiscoveryError["code"] } = {
  Refused: "egress_refused",
  TooLarge: "metadata_invalid",
  Redirected: "metadata_invalid"
}

/** The members of a document; `null` counts as left out. */
const parse = (body: Uint8Array): Members | undefined => {
  try {
    const members = parseObject(new TextDecoder().decode(body))
    return members && Object.fromEntries(Object.entries(members).filter(([, value]) => value !== null))
  } catch {
    return undefined
  }
}
