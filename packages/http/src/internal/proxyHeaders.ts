/** What belongs to one connection and not to the message (RFC 9110 §7.6.1, RFC 9112). */
const hopByHop = [
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "http2-settings"
]

/** What a request says of its caller's way here, of its browser, or of its credentials for other places. */
const ours = new Set([
  ...hopByHop,
  "authorization",
  "cookie",
  "cookie2",
  "x-api-key",
  "x-auth-token",
  "x-csrf-token",
  "x-xsrf-token",
  "dpop",
  "host",
  "content-length",
  "expect",
  "origin",
  "referer",
  "forwarded",
  "via",
  "x-real-ip",
  "x-client-ip",
  "x-cluster-client-ip",
  "x-original-url",
  "x-rewrite-url",
  "true-client-ip",
  "client-ip",
  "cf-connecting-ip",
  "fastly-client-ip",
  "x-http-method",
  "x-http-method-override",
  "x-method-override",
  // Traces are ours, and no third party's.
  "traceparent",
  "tracestate",
  "baggage",
  "b3"
])

const oursByPrefix = /^(?:proxy-|x-valetkey-|x-forwarded-|x-b3-|sec-fetch-|:)/

/** What an answer would do to its caller's client in the name of our own origin, or tells of the connection to the resource. */
const theirs = new Set([
  ...hopByHop,
  "set-cookie",
  "set-cookie2",
  "clear-site-data",
  "strict-transport-security",
  "public-key-pins",
  "expect-ct",
  "alt-svc",
  "service-worker-allowed",
  "refresh",
  "report-to",
  "nel",
  "reporting-endpoints",
  "content-security-policy",
  "content-security-policy-report-only",
  "x-content-type-options",
  "cache-control",
  "expires",
  "pragma",
  "cdn-cache-control",
  "surrogate-control",
  // A challenge is about the token, which is not the caller's.
  "www-authenticate",
  "authentication-info",
  "location",
  "content-location"
])

const theirsByPrefix = /^(?:proxy-|access-control-|cross-origin-|x-valetkey-)/

/** The names that a `Connection` header adds to those of its connection. */
const named = (connection: string | undefined): ReadonlySet<string> =>
  new Set((connection ?? "").split(",").map((name) => name.trim().toLowerCase()))

type Headers = Readonly<Record<string, string | undefined>>

const passed = (
  headers: Headers,
  stays: (name: string, value: string) => boolean
): Record<string, string> => {
  const connection = named(headers["connection"])
  const result: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && !connection.has(name) && !stays(name, value)) result[name] = value
  }
  return result
}

/**
 * The headers of a request that go on to the resource. Nothing that repeats the caller's credential does. A part of an
 * answer is not asked for when answers are searched for the token: half of one is not found.
 */
export const requestHeaders = (
  headers: Headers,
  { credential, whole }: { readonly credential: string; readonly whole: boolean }
): Record<string, string> =>
  passed(headers, (name, value) =>
    ours.has(name) || oursByPrefix.test(name) || value.includes(credential) ||
    (whole && (name === "range" || name === "if-range")))

/** The headers of an answer that go back to the caller, with those that every answer of ours has. */
export const responseHeaders = (headers: Headers): Record<string, string> => ({
  ...passed(headers, (name) => theirs.has(name) || theirsByPrefix.test(name)),
  "cache-control": "no-store",
  "content-security-policy": "sandbox",
  "x-content-type-options": "nosniff",
  // What stands between us and the caller may not collect events.
  ...(/^text\/event-stream\b/i.test(headers["content-type"] ?? "") ? { "x-accel-buffering": "no" } : {})
})

/**
 * Where a redirect leads, as a path of the proxy, if it stays below the resource. Other places are not told: a client that
 * follows would take its credential for us along.
 */
export const locationOf = (
  location: string | undefined,
  { prefix, resource, url }: { readonly prefix: string; readonly resource: string; readonly url: URL }
): string | undefined => {
  const target = location === undefined ? null : URL.parse(location, url)
  const base = new URL(resource)
  if (target === null || target.origin !== base.origin) return undefined
  const directory = base.pathname.endsWith("/") ? base.pathname.slice(0, -1) : base.pathname
  const rest = target.pathname.slice(directory.length)
  return target.pathname.startsWith(directory) && (rest === "" || rest.startsWith("/"))
    ? `${prefix}${rest}${target.search}`
    : undefined
}
