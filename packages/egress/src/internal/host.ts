import { isLoopback } from "./address.ts"

/** The host of a URL as rules compare it: lower case, without brackets and without the root's trailing dot. */
export const hostOf = (url: URL): string => canonicalHost(url.hostname)

/** As `hostOf`, for a host name that was already cut out of its URL. */
export const canonicalHost = (hostname: string): string => {
  const bare = hostname.startsWith("[") ? hostname.slice(1, -1) : hostname
  return (bare.endsWith(".") ? bare.slice(0, -1) : bare).toLowerCase()
}

/** The port that a connection for this URL uses. */
export const portOf = (url: URL): number => url.port !== "" ? Number(url.port) : url.protocol === "https:" ? 443 : 80

/** The `host:port` of a URL, IPv6 in brackets. */
export const endpointOf = (url: URL): string => formatEndpoint(hostOf(url), portOf(url))

/** Joins a canonical host and a port. */
export const formatEndpoint = (host: string, port: number): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`

/** Tells whether a canonical host is this machine by its own name: a loopback literal or `localhost`. */
export const isLoopbackHost = (host: string): boolean => host === "localhost" || isLoopback(host)

/** An endpoint as it is compared with our own: every spelling of loopback is the same. */
export const ownEndpointOf = (url: URL): string =>
  isLoopbackHost(hostOf(url)) ? formatEndpoint("localhost", portOf(url)) : endpointOf(url)
