import { trustOf } from "@valetkey/egress/AddressPolicy"

/**
 * Whether metadata may name this endpoint, given the resource that led to it and the URL that vouches for it.
 *
 * A public resource never leads to this machine, and an https document never leads to plain http. What the guard let us
 * fetch the document from is as good as an entry in its list, so endpoints of that origin pass. Requests meet the guard
 * again; the authorization endpoint does not, because a browser goes there.
 */
export const isAcceptable = (endpoint: string, resource: string, voucher: string): boolean => {
  const [url, from] = [new URL(endpoint), new URL(voucher)]
  if (url.origin === from.origin) return true
  if (url.protocol === "http:" && from.protocol === "https:") return false
  return trustOf(url) === "public" || trustOf(resource) === "loopback"
}
