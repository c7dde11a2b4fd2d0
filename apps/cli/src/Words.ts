import * as Argument from "effect/cli/Argument"
import { plain } from "./Output.ts"
import type { Connection } from "./Wire.ts"

const spelling = "1 to 63 characters of a-z, 0-9, '.', '_' or '-', beginning with a letter or digit"

/** What a server's name is. */
export const nameRule = `a name is ${spelling}`

/** Whether a text may be a server's name. */
export const isName = (text: string): boolean => /^[a-z0-9][a-z0-9._-]{0,62}$/.test(text)

/** Argument of a server's name. */
export const Name = Argument.String("name").pipe(
  Argument.withDescription("Name of the server, as `valetkey list` shows it"),
  Argument.filter(isName, () => spelling)
)

/** Derives a server's name from its URL: host and path in the letters that a name may have. */
export const slugOf = (url: URL): string => {
  const host = url.hostname.replace(/^www\./, "").replace(/^\[|\]$/g, "")
  const port = url.port === "" ? "" : `-${url.port}`
  const path = url.pathname.split("/").filter((part) => part !== "").join("-")
  return `${host}${port}${path === "" ? "" : `-${path}`}`.toLowerCase().replace(/[^a-z0-9._-]+/g, "-").slice(0, 63)
    .replace(/^[^a-z0-9]+/, "").replace(/[^a-z0-9]+$/, "")
}

/** Parses `90`, `60s`, `5m` or `1h` to seconds. */
export const parseSeconds = (text: string): number | undefined => {
  const found = /^(\d{1,6})(s|m|h)?$/.exec(text.trim())
  return found === null ? undefined : Number(found[1]) * ({ s: 1, m: 60, h: 3600 }[found[2] ?? "s"] ?? 1)
}

/** Milliseconds as `3m 20s`: at most two units. */
export const formatDuration = (millis: number): string => {
  const total = Math.max(0, Math.round(millis / 1000))
  const units = [
    [Math.floor(total / 86_400), "d"],
    [Math.floor(total / 3600) % 24, "h"],
    [Math.floor(total / 60) % 60, "m"],
    [total % 60, "s"]
  ] as const
  const first = units.findIndex(([amount]) => amount > 0)
  if (first === -1) return "0s"
  return units.slice(first, first + 2).filter(([amount]) => amount > 0).map(([amount, unit]) => `${amount}${unit}`)
    .join(" ")
}

/** When an access token ends, as seen from now. */
export const formatExpiry = (expiresAt: string | undefined, now: number): string => {
  if (expiresAt === undefined) return "no end"
  const left = Date.parse(expiresAt) - now
  return left > 0 ? `in ${formatDuration(left)}` : "refreshes on use"
}

/** A date as a person reads it, and how far it is. */
export const formatDate = (date: string, now: number): string => {
  const left = Date.parse(date) - now
  return `on ${plain(date.slice(0, 10))} (${left > 0 ? `in ${formatDuration(left)}` : "over"})`
}

/** The health of a connection in a word or two. */
export const formatStatus = ({ reason, status }: Connection): string =>
  status === "active" ? "active" : status === "needs_reauth" ? `needs consent (${reason ?? "unknown"})` : status

/** Whose credentials they are, by the name that a person knows; `-` where nobody said. */
export const formatAccount = (account: Connection["account"]): string =>
  account === undefined ? "-" : plain(account.label ?? account.id)

/** Scopes as a person reads them. */
export const formatScopes = (scopes: ReadonlyArray<string> | undefined): string =>
  scopes === undefined ? "-" : plain(scopes.join(" "))

/** When a token was last handed out, which is known to within a minute. */
export const formatUse = (lastUsedAt: string | undefined, now: number): string => {
  if (lastUsedAt === undefined) return "-"
  const ago = now - Date.parse(lastUsedAt)
  return ago < 60_000 ? "a moment ago" : `${formatDuration(ago)} ago`
}
