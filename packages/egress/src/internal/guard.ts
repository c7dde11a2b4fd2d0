import type { LookupFunction } from "node:net"
import { isIP } from "node:net"
import type { buildConnector } from "undici"
import type { AddressPolicy, Trust } from "../AddressPolicy.ts"
import type { Rule } from "../EgressError.ts"
import { isGlobal, isLoopback } from "./address.ts"
import { canonicalHost, formatEndpoint, hostOf, isLoopbackHost, ownEndpointOf, portOf } from "./host.ts"

/** Resolves a host name to all of its addresses. */
export type Resolve = (hostname: string) => Promise<ReadonlyArray<string>>

/** What a policy refuses a request for. It is an Error so that it can travel through a socket. */
export class Refusal extends Error {
  readonly rule: typeof Rule.Type
  constructor(rule: typeof Rule.Type) {
    super("refused by the egress policy")
    this.rule = rule
  }
}

/** Which addresses an endpoint may have. */
type Reach = "listed" | "loopback" | "global"

const specialSuffixes = ["localhost", "local", "internal", "home.arpa", "onion"]

/** Checks a request's URL before anything happens; address literals are judged here, names again at each dial. */
export const admit = (policy: AddressPolicy, trust: Trust, url: URL): Refusal | undefined => {
  if (url.protocol !== "https:" && url.protocol !== "http:") return new Refusal("scheme")
  if (url.username !== "" || url.password !== "") return new Refusal("url")
  if (policy.refuse.has(ownEndpointOf(url))) return new Refusal("own_endpoint")
  const reach = reachOf(policy, trust, hostOf(url), portOf(url))
  if (reach instanceof Refusal) return reach
  return reach === "global" && url.protocol !== "https:" ? new Refusal("scheme") : undefined
}

const reachOf = (policy: AddressPolicy, trust: Trust, host: string, port: number): Reach | Refusal => {
  if (policy.allow.has(formatEndpoint(host, port))) return "listed"
  if (isLoopbackHost(host)) {
    return trust === "loopback" && policy.loopbackResources ? "loopback" : new Refusal("address")
  }
  if (isIP(host) !== 0 && !isGlobal(host)) return new Refusal("address")
  if (host === "" || specialSuffixes.some((name) => host === name || host.endsWith(`.${name}`))) {
    return new Refusal("host")
  }
  return policy.ports !== undefined && !policy.ports.has(port) ? new Refusal("port") : "global"
}

const permits: Record<Reach, (address: string) => boolean> = {
  listed: () => true,
  loopback: isLoopback,
  global: isGlobal
}

/**
 * Makes the lookup of a socket: it answers with addresses only if every address of the name is permitted.
 *
 * The socket dials exactly what this answers, so there is no second resolution that could differ.
 */
const guardedLookup = (reach: Reach, resolve: Resolve): LookupFunction => (hostname, options, callback) => {
  resolve(hostname).then(
    (addresses) => {
      const entries = addresses.map((address) => ({ address, family: isIP(address) }))
      const [first] = entries
      if (first === undefined) {
        callback(Object.assign(new Error("no address"), { code: "ENOTFOUND" }), [])
      } else if (!addresses.every(permits[reach])) {
        callback(new Refusal("address"), [])
      } else if (options.all === true) {
        callback(null, entries)
      } else {
        callback(null, first.address, first.family)
      }
    },
    (cause: unknown) => {
      const code = (cause as NodeJS.ErrnoException | undefined)?.code ?? "EAI_FAIL"
      callback(Object.assign(new Error("name resolution failed"), { code }), [])
    }
  )
}

/** Settings of every dial. */
export interface DialOptions {
  readonly policy: AddressPolicy
  readonly trust: Trust
  readonly resolve: Resolve
  readonly connectTimeout: number
  readonly ca: string | undefined
}

/** Makes undici's connector: the only place of this package that opens a socket. */
export const makeConnector = (
  build: typeof buildConnector,
  { ca, connectTimeout, policy, resolve, trust }: DialOptions
): buildConnector.connector => {
  const connectorOf = (reach: Reach) =>
    build({
      // Spelled out, so that NODE_TLS_REJECT_UNAUTHORIZED cannot switch verification off.
      rejectUnauthorized: true,
      allowH2: false,
      timeout: connectTimeout,
      lookup: guardedLookup(reach, resolve),
      ...(ca === undefined ? {} : { ca })
    })
  const connectors = {
    listed: connectorOf("listed"),
    loopback: connectorOf("loopback"),
    global: connectorOf("global")
  }
  return (options, callback) => {
    const host = canonicalHost(options.hostname)
    const port = options.port !== "" ? Number(options.port) : options.protocol === "https:" ? 443 : 80
    const reach = reachOf(policy, trust, host, port)
    if (reach instanceof Refusal) return callback(reach, null)
    connectors[reach](options, callback)
  }
}
