import { randomBytes } from "node:crypto"

/** Where a listener stands: the host as the redirect URI spells it, the addresses behind it, port and path. */
export interface Endpoint {
  readonly host: string
  readonly addresses: readonly [string, ...ReadonlyArray<string>]
  /** 0 lets the system choose. */
  readonly port: number
  readonly path: string
  /** Only for a machine that has no address of IPv4. */
  readonly withoutIpv4?: boolean
}

/** `localhost` means both families, because a browser may try either first. */
const addressesOf: Readonly<Record<string, Endpoint["addresses"]>> = {
  "127.0.0.1": ["127.0.0.1"],
  "[::1]": ["::1"],
  localhost: ["127.0.0.1", "::1"]
}

/**
 * The endpoints to try, in order: that of the preferred redirect URI; the same with another port, which servers accept
 * for loopback addresses (RFC 8252 §7.3); without a usable preference, one that nobody can guess. A machine that has no
 * IPv4 gets the other literal.
 */
export const endpoints = (preferred: string | undefined): readonly [Endpoint, ...ReadonlyArray<Endpoint>] => {
  const wanted = wantedOf(preferred)
  const last = wanted.at(-1)!
  return last.host === "127.0.0.1"
    ? [...wanted, { ...last, host: "[::1]", addresses: ["::1"], withoutIpv4: true }]
    : wanted
}

const wantedOf = (preferred: string | undefined): readonly [Endpoint, ...ReadonlyArray<Endpoint>] => {
  const url = preferred === undefined ? null : URL.parse(preferred)
  const addresses = url === null ? undefined : addressesOf[url.hostname]
  if (url === null || addresses === undefined || url.protocol !== "http:" || url.search !== "") {
    return [{
      host: "127.0.0.1",
      addresses: ["127.0.0.1"],
      port: 0,
      path: `/cb/${randomBytes(16).toString("base64url")}`
    }]
  }
  const other: Endpoint = { host: url.hostname, addresses, port: 0, path: url.pathname }
  return url.port === "" ? [other] : [{ ...other, port: Number(url.port) }, other]
}
