import { Context, Schema } from "effect"

/** Schema for who is behind an event and from where it came: classes, never an address. */
export const AuditOrigin = Schema.Struct({
  /** How the caller proved who it is; `system` when nobody called. */
  principal: Schema.Literals(["jwt", "api_key", "local", "console", "system"]),
  /** The socket of the local profile, a class of network address, or this process itself. */
  from: Schema.Literals(["process", "socket", "loopback", "private", "global"])
})
export type AuditOrigin = typeof AuditOrigin.Type

/** The origin of what the current fiber does. Whoever takes requests provides it. */
export const CurrentOrigin = Context.Reference<AuditOrigin>("@valetkey/domain/AuditOrigin/CurrentOrigin", {
  defaultValue: () => ({ principal: "system", from: "process" })
})

/** The class of a peer's address as a socket reports it; a socket without an address is a local one. */
export const classOf = (address: string | undefined): AuditOrigin["from"] => {
  if (address === undefined || address === "") return "socket"
  const plain = address.replace(/^::ffff:/i, "")
  if (plain === "::1" || plain.startsWith("127.")) return "loopback"
  return /^(10\.|192\.168\.|169\.254\.|172\.(1[6-9]|2\d|3[01])\.|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.|f[cd]|fe[89ab])/i
      .test(plain)
    ? "private"
    : "global"
}
