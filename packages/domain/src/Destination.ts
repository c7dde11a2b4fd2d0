import { Result, Schema } from "effect"

/** Error of a path or query that would lead away from the resource, or that nobody can be sure of. Nothing was sent. */
export class DestinationRefused
  extends Schema.TaggedError<DestinationRefused>("valetkey/DestinationRefused")("DestinationRefused", {
    code: Schema.Literals(["path_refused", "query_refused"])
  })
{
  override get message() {
    return this.code === "path_refused"
      ? "The path must lie below the resource as it is written: no dot segments, empty segments, encoded slashes or control characters"
      : "The query may not name access_token (RFC 6750 section 2.3 is not supported) or a parameter of the resource's own URL"
  }
}

/**
 * The URL below a resource for a path and a query as they were written: the path begins with a slash or is empty, the
 * query has no question mark. What a URL parser would read in another way than a router is refused, not mended.
 *
 * @see RFC 3986 §5.2.4
 */
export const below = (resource: string, path: string, query: string): Result.Result<URL, DestinationRefused> => {
  const base = new URL(resource)
  if (path !== "" && !isPlainPath(path)) return refused("path_refused")
  if (!isPlainQuery(query, base)) return refused("query_refused")
  const prefix = base.pathname.endsWith("/") && path !== "" ? base.pathname.slice(0, -1) : base.pathname
  const search = [base.search.slice(1), query].filter((part) => part !== "").join("&")
  const url = URL.parse(`${base.origin}${prefix}${path}${search === "" ? "" : `?${search}`}`)
  // The parser is the last judge: whatever it changed was not what was written.
  return url !== null && url.origin === base.origin && url.pathname === `${prefix}${path}` && url.hash === "" &&
      url.username === "" && url.password === ""
    ? Result.succeed(url)
    : refused("path_refused")
}

/** Whether a resource speaks for another: the same origin, and a path at or above it. */
export const covers = (outer: string, inner: string): boolean => {
  const [above, beneath] = [URL.parse(outer), URL.parse(inner)]
  return above !== null && beneath !== null && above.origin === beneath.origin &&
    directoryOf(beneath).startsWith(directoryOf(above)) && (above.search === "" || above.search === beneath.search)
}

const directoryOf = ({ pathname }: URL): string => pathname.endsWith("/") ? pathname : `${pathname}/`

const refused = (code: DestinationRefused["code"]) => Result.fail(new DestinationRefused({ code }))

/** RFC 3986 §3.3 characters; no encoded slash, backslash or control character, however often it is encoded. */
const isPlainPath = (path: string): boolean =>
  /^\/(?:[\w.~!$&'()*+,;=:@/-]|%[0-9a-f]{2})*$/i.test(path) &&
  !/%(?:25)*(?:2f|5c|0[0-9a-f]|1[0-9a-f]|7f)/i.test(path) &&
  path.slice(1).split("/").every((segment, index, all) =>
    (segment !== "" || index === all.length - 1) && !isDots(segment)
  )

/** `.` and `..` in every spelling, with path parameters behind them, which some servers cut off before they look. */
const isDots = (segment: string): boolean => /^(?:\.|%(?:25)*2e){1,2}(?:;|%(?:25)*3b|$)/i.test(segment)

const isPlainQuery = (query: string, { searchParams }: URL): boolean =>
  /^[\x21\x22\x24-\x7E]*$/.test(query) &&
  [...new URLSearchParams(query).keys()].every((name) => !/^\s*access_token\s*$/i.test(name) && !searchParams.has(name))
