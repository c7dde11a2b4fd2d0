import { CallbackReceived } from "@valetkey/domain/Authorization"
import { looksAhead, maxTarget } from "@valetkey/domain/CallbackRequest"
import { Result } from "effect"
import type { IncomingMessage } from "node:http"

/** What a listener answers for. */
export interface Expected {
  /** The `Host` header of a request that was meant for it. */
  readonly host: string
  readonly path: string
}

/** A request that is let in, or the status and headers of its refusal. */
export type Admission =
  | { readonly _tag: "Admitted"; readonly received: CallbackReceived }
  | { readonly _tag: "Refused"; readonly status: number; readonly headers?: Readonly<Record<string, string>> }

/** Judges a request by its shape alone. What is refused changes nothing. */
export const admit = (request: IncomingMessage, expected: Expected): Admission => {
  const target = request.url ?? ""
  if (target.length > maxTarget) return { _tag: "Refused", status: 414 }
  // Another name that leads here is somebody's DNS (rebinding).
  if (request.headers.host !== expected.host) return { _tag: "Refused", status: 421 }
  const [path, query = ""] = split(target)
  if (path !== expected.path) return { _tag: "Refused", status: 404 }
  if (request.method !== "GET") return { _tag: "Refused", status: 405, headers: { allow: "GET" } }
  if (looksAhead(request.headers)) return { _tag: "Refused", status: 204 }
  const received = CallbackReceived.parse(new URLSearchParams(query))
  return Result.isFailure(received)
    ? { _tag: "Refused", status: 400 }
    : { _tag: "Admitted", received: received.success }
}

/** The target is compared as it came: no decoding and no dot segments lead to the path. */
const split = (target: string): readonly [string, string?] => {
  const mark = target.indexOf("?")
  return mark < 0 ? [target] : [target.slice(0, mark), target.slice(mark + 1)]
}
