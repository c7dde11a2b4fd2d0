import type { ConnectionView } from "@valetkey/api/ConnectionsApi"
import { DateTime, Duration } from "effect"
import * as Argument from "effect/cli/Argument"
import { plain } from "./Output.ts"

/** Argument of a server's name. */
export const Name = Argument.String("name").pipe(
  Argument.withDescription("Name of the server, as `valetkey list` shows it")
)

/** Derives a server's name from its URL: host and path in the letters that a name may have. */
export const slugOf = (url: URL): string => {
  const host = url.hostname.replace(/^www\./, "").replace(/^\[|\]$/g, "")
  const port = url.port === "" ? "" : `-${url.port}`
  const path = url.pathname.split("/").filter((part) => part !== "").join("-")
  return `${host}${port}${path === "" ? "" : `-${path}`}`.toLowerCase().replace(/[^a-z0-9._-]+/g, "-").slice(0, 63)
    .replace(/^[^a-z0-9]+/, "").replace(/[^a-z0-9]+$/, "")
}

/** Parses `90`, `60s`, `5m` or `1h`. */
export const parseDuration = (text: string): Duration.Duration | undefined => {
  const found = /^(\d{1,6})(s|m|h)?$/.exec(text.trim())
  if (found === null) return undefined
  const seconds = Number(found[1]) * ({ s: 1, m: 60, h: 3600 }[found[2] ?? "s"] ?? 1)
  return Duration.seconds(seconds)
}

/** `3m 20s`: at most two units. */
export const formatDuration = (duration: Duration.Duration): string => {
  const total = Math.max(0, Math.round(Duration.toSeconds(duration)))
  const units = [[Math.floor(total / 86_400), "d"], [Math.floor(total / 3600) % 24, "h"], [
    Math.floor(total / 60) % 60,
    "m"
  ], [total % 60, "s"]] as const
  const first = units.findIndex(([amount]) => amount > 0)
  if (first === -1) return "0s"
  return units.slice(first, first + 2).filter(([amount]) => amount > 0).map(([amount, unit]) => `${amount}${unit}`)
    .join(" ")
}

/** When an access token ends, as seen from now. */
export const formatExpiry = (expiresAt: DateTime.Utc | undefined, now: DateTime.Utc): string => {
  if (expiresAt === undefined) return "no end"
  const left = DateTime.distance(now, expiresAt)
  return Duration.toMillis(left) > 0 ? `in ${formatDuration(left)}` : "refreshes on use"
}

/** The health of a connection in a word or two. */
export const formatStatus = ({ reason, status }: ConnectionView): string =>
  status === "active" ? "active" : status === "needs_reauth" ? `needs consent (${reason ?? "unknown"})` : status

/** Scopes as a person reads them. */
export const formatScopes = (scopes: ReadonlyArray<string> | undefined): string =>
  scopes === undefined ? "-" : plain(scopes.join(" "))
