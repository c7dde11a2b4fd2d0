import { readBearer } from "@valetkey/client/BearerChallenge"
import { ScopeInsufficient } from "@valetkey/client/ResourceError"

/** What has to be asked of a person before a request can be made. */
export interface Missing {
  /** The scopes that are wanted; undefined when the server's usual ones are. */
  readonly scopes: ReadonlyArray<string> | undefined
}

/** What a `fetch` that leads to consents is made of. */
export interface ConsentingFetchOptions {
  /** Makes requests with a token; rejects when there is none, and with `ScopeInsufficient` when it is not enough. */
  readonly authorized: typeof fetch
  /** Whether a rejection says that there is no token without a person's consent. */
  needsPerson(error: unknown): boolean
  /** Gets the consent. What it rejects with ends the request. Without it nobody is asked. */
  readonly obtain?: ((missing: Missing) => Promise<void>) | undefined
  /** How often one request may lead to a consent: a resource that is never satisfied ends there. */
  readonly maxConsents: number
}

/**
 * Makes a `fetch` that gets what only a person can give, and repeats the request then. Where nobody ever connected, a request
 * goes without a token, to the origin that it names alone, and a person is asked when the server refuses it, for what the
 * refusal names; and once more when it wants more scopes, for all of them together. Where a connection ended, the person is
 * asked first: the request may belong to a session. Requests that wait for the same person share one consent.
 *
 * @see MCP Authorization, "Scope Selection Strategy" and "Scope Challenge Handling"
 */
export const make = ({ authorized, maxConsents, needsPerson, obtain }: ConsentingFetchOptions): typeof fetch => {
  const asking = new Map<string, Promise<void>>()

  const share = (missing: Missing, ask: (missing: Missing) => Promise<void>): Promise<void> => {
    const wanted = missing.scopes?.toSorted().join(" ") ?? ""
    const running = asking.get(wanted)
    if (running !== undefined) return running
    const next = ask(missing).finally(() => asking.delete(wanted))
    asking.set(wanted, next)
    return next
  }

  /** The answer, or what only a person can give, with the error that says so when it was one. */
  const attempt = async (
    input: RequestInfo | URL,
    init: RequestInit | undefined
  ): Promise<Response | { readonly missing: Missing; readonly error: unknown }> => {
    const again = () => input instanceof Request ? input.clone() : input
    try {
      return await authorized(again(), init)
    } catch (error) {
      const more = error instanceof ScopeInsufficient ? { scopes: error.scopes } : undefined
      if (obtain === undefined || !needsPerson(error) && more === undefined) throw error
      if (more !== undefined) return { missing: more, error }
      if (codeOf(error) === "reauthorization_required") return { missing: { scopes: undefined }, error }
      const answer = await nearby(again, init)
      const missing = challengeOf(answer)
      if (missing === undefined) return answer
      await answer.body?.cancel()
      return { missing, error }
    }
  }

  return async (input, init) => {
    for (let consents = 0;; consents++) {
      const outcome = await attempt(input, init)
      if (outcome instanceof Response) return outcome
      if (obtain === undefined || consents === maxConsents || init?.body instanceof ReadableStream) {
        throw outcome.error
      }
      await share(outcome.missing, obtain)
    }
  }
}

const maxRedirects = 5

/** Makes a request without a token. Redirects are followed where they change nothing but the path; all others are answers. */
const nearby = async (again: () => RequestInfo | URL, init: RequestInit | undefined): Promise<Response> => {
  const first = again()
  const asked = first instanceof Request ? first : undefined
  if ((init?.redirect ?? asked?.redirect ?? "follow") !== "follow") return await fetch(first, init)
  const method = (init?.method ?? asked?.method ?? "GET").toUpperCase()
  let target = asked?.url ?? String(first)
  for (let redirects = 0;; redirects++) {
    const input = again()
    const answer = await fetch(input instanceof Request ? new Request(target, input) : target, {
      ...init,
      redirect: "manual"
    })
    const location = answer.headers.get("location")
    const isSame = [307, 308].includes(answer.status) ||
      [301, 302, 303].includes(answer.status) && ["GET", "HEAD"].includes(method)
    const next = isSame && location !== null ? URL.parse(location, target) : null
    if (
      next === null || next.origin !== new URL(target).origin || redirects === maxRedirects ||
      init?.body instanceof ReadableStream
    ) return answer
    await answer.body?.cancel()
    target = next.href
  }
}

/** What a resource says in its refusal of a request without a token; undefined when it does not refuse one. */
export const challengeOf = ({ headers, status }: Response): Missing | undefined => {
  if (status !== 401) return undefined
  const { scopes = [] } = readBearer(headers.get("www-authenticate")) ?? {}
  return { scopes: scopes.length === 0 ? undefined : scopes }
}

const codeOf = (error: unknown): unknown => (error as { readonly code?: unknown } | null)?.code

/** Whether Valetkey's code says that there is no token without a person's consent. */
export const isUnconnected = (code: string): boolean =>
  code === "connection_not_found" || code === "reauthorization_required"
