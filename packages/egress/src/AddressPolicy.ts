import { Result, Schema } from "effect"
import { endpointOf, hostOf, isLoopbackHost, ownEndpointOf } from "./internal/host.ts"

/**
 * Where a request comes from: `loopback` when the resource that led to it runs on this machine, else `public`.
 *
 * It is an argument of every request, because an address that is right for one origin is an attack from another.
 */
export type Trust = "public" | "loopback"

/** Which addresses requests may reach. Everything that is not global unicast needs a name here. */
export interface AddressPolicy {
  /** Exact `host:port` endpoints that may be anywhere and may speak plain http. */
  readonly allow: ReadonlySet<string>
  /** Exact `host:port` endpoints that are never called: our own. They win over `allow`; loopback is meant in every spelling. */
  readonly refuse: ReadonlySet<string>
  /** Whether a request of trust `loopback` may reach loopback; without it such a request counts as `public`. */
  readonly loopbackResources: boolean
  /** The ports that may be called on global addresses; undefined means any. */
  readonly ports: ReadonlySet<number> | undefined
}

/** Options of both profiles. Endpoints are `host:port`, IPv6 in brackets. */
export interface AddressPolicyOptions {
  readonly allow?: Iterable<string> | undefined
  readonly refuse?: Iterable<string> | undefined
  readonly ports?: Iterable<number> | undefined
}

/** Failure of an endpoint list; it names the entry by position and never quotes it. */
export class EndpointListError extends Schema.TaggedError<EndpointListError>("valetkey/EndpointListError")(
  "EndpointListError",
  { entry: Schema.Int }
) {
  readonly code = "invalid_endpoint_list"
  override get message() {
    return `Entry ${this.entry} of the endpoint list is not host:port. Write a host name or address, a colon and a port.`
  }
}

/** Policy of the server profile: global addresses only, plus the endpoints in `allow`. */
export const globalOnly = (options: AddressPolicyOptions = {}): AddressPolicy => make(options, false)

/** Policy of the local profile: as `globalOnly`, and a loopback resource may lead to loopback endpoints. */
export const local = (options: AddressPolicyOptions = {}): AddressPolicy => make(options, true)

/** Derives the trust of everything that a resource leads to from the resource's own URL. */
export const trustOf = (resource: URL | string): Trust => {
  const url = typeof resource === "string" ? URL.parse(resource) : resource
  if (url === null) return "public"
  return isLoopbackHost(hostOf(url)) ? "loopback" : "public"
}

/** Decodes a comma separated list of `host:port`. No wildcards, no schemes, no ranges. */
export const parseEndpoints = (list: string): Result.Result<ReadonlyArray<string>, EndpointListError> => {
  const endpoints: Array<string> = []
  for (const [index, entry] of list.split(",").map((part) => part.trim()).entries()) {
    if (entry === "") continue
    const endpoint = normalize(entry)
    if (endpoint === undefined) return Result.fail(new EndpointListError({ entry: index + 1 }))
    endpoints.push(endpoint)
  }
  return Result.succeed(endpoints)
}

const make = (options: AddressPolicyOptions, loopbackResources: boolean): AddressPolicy => ({
  allow: endpointSet(options.allow),
  refuse: new Set([...endpointSet(options.refuse)].map((endpoint) => ownEndpointOf(new URL(`http://${endpoint}`)))),
  loopbackResources,
  ports: options.ports === undefined ? undefined : new Set(options.ports)
})

const endpointSet = (entries: Iterable<string> = []): ReadonlySet<string> => {
  const parsed = parseEndpoints([...entries].join(","))
  if (Result.isFailure(parsed)) throw parsed.failure
  return new Set(parsed.success)
}

const entryPattern = /^(\[[0-9a-fA-F:.]+\]|[^\s:/?#@\\[\]*]+):(\d{1,5})$/

const normalize = (entry: string): string | undefined => {
  const url = entryPattern.test(entry) ? URL.parse(`http://${entry}`) : null
  if (url === null || url.pathname !== "/") return undefined
  const endpoint = endpointOf(url)
  return endpoint.endsWith(":0") ? undefined : endpoint
}
