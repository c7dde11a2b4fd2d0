import { Effect } from "effect"
import { authorized, type Possession, type Tokens, unknownPossession } from "./internal/authorized.ts"

export type { Tokens }

const maxRedirects = 5

/**
 * Makes a `fetch` for the resource of one server whose tokens come from anywhere: every request carries a fresh one, to the
 * origin of the resource alone. A 401 has the token replaced and the request made once more; one whose body is a stream is
 * not repeated, and its 401 is the answer. Redirects within the origin are followed where `fetch` would, all others are
 * answers. Rejects with what `tokens` fails with, `OriginRefused`, `ScopeInsufficient`, or as `fetch` does.
 *
 * @see https://fetch.spec.whatwg.org/#http-redirect-fetch
 */
export const make = <TokenError, R>(
  tokens: Tokens<TokenError, R>,
  run: <A, E>(effect: Effect.Effect<A, E, R>, signal: AbortSignal | undefined) => Promise<A>,
  server: string
): typeof fetch => requesting(tokens, run, server, unknownPossession())

const requesting = <TokenError, R>(
  tokens: Tokens<TokenError, R>,
  run: <A, E>(effect: Effect.Effect<A, E, R>, signal: AbortSignal | undefined) => Promise<A>,
  server: string,
  possession: Possession
): typeof fetch =>
async (input, init) => {
  const asked = input instanceof Request ? input : undefined
  const signal = init?.signal ?? asked?.signal
  const mode = init?.redirect ?? asked?.redirect ?? "follow"
  let url = new URL(asked?.url ?? String(input))
  let method = (init?.method ?? asked?.method ?? "GET").toUpperCase()
  const headers = new Headers(init?.headers ?? asked?.headers)
  let body = init?.body ?? asked?.body ?? null
  for (let redirects = 0;; redirects++) {
    const replayable = isReplayable(body)
    const request = { url, method, body }
    const answer = await run(
      authorized(tokens, {
        server,
        method,
        url: request.url,
        possession,
        replayable,
        send: (added) => Effect.tryPromise({ try: () => send(request, added), catch: (error) => error }),
        look: ({ headers, status }) => ({
          status,
          challenge: headers.get("www-authenticate"),
          nonce: headers.get("dpop-nonce")
        }),
        discard: (answer) => Effect.promise(async () => await answer.body?.cancel().catch(() => undefined))
      }),
      signal
    )
    const target = redirectOf(answer, url)
    if (target === undefined || mode === "manual") return answer
    if (mode === "error") throw new TypeError("The resource answered with a redirect")
    if (target.origin !== url.origin || redirects === maxRedirects) return answer
    if (answer.status === 303 ? method !== "HEAD" : answer.status < 303 && method === "POST") {
      method = "GET"
      body = null
      for (const name of ["content-encoding", "content-language", "content-location", "content-type"]) {
        headers.delete(name)
      }
    } else if (!replayable) return answer
    await answer.body?.cancel()
    url = target
  }

  function send(
    request: { url: URL; method: string; body: RequestInit["body"] },
    added: Readonly<Record<string, string>>
  ) {
    const authorizedHeaders = new Headers(headers)
    for (const [name, value] of Object.entries(added)) authorizedHeaders.set(name, value)
    return fetch(request.url, {
      ...init,
      method: request.method,
      headers: authorizedHeaders,
      body: request.body ?? null,
      redirect: "manual",
      ...(signal === undefined ? {} : { signal }),
      ...(request.body instanceof ReadableStream ? { duplex: "half" } : {})
    } as RequestInit)
  }
}

/** Whether a body can be sent a second time. */
const isReplayable = (body: RequestInit["body"]): boolean =>
  body === null || body === undefined || typeof body === "string" || body instanceof ArrayBuffer ||
  ArrayBuffer.isView(body) || body instanceof Blob || body instanceof FormData || body instanceof URLSearchParams

const redirectOf = ({ headers, status }: Response, url: URL): URL | undefined => {
  const location = headers.get("location")
  return [301, 302, 303, 307, 308].includes(status) && location !== null
    ? URL.parse(location, url) ?? undefined
    : undefined
}
