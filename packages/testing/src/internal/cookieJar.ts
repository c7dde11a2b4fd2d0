interface Cookie {
  readonly name: string
  readonly value: string
  readonly path: string
  readonly secure: boolean
}

/** Cookies of one person. Ports share cookies, as in a browser; loopback counts as secure, as in Chromium. */
export class CookieJar {
  private readonly hosts = new Map<string, Map<string, Cookie>>()

  header(url: URL): string {
    const secure = url.protocol === "https:" || isLoopback(url.hostname)
    return [...(this.hosts.get(url.hostname)?.values() ?? [])]
      .filter((cookie) => pathMatches(url.pathname, cookie.path) && (secure || !cookie.secure))
      .map(({ name, value }) => `${name}=${value}`)
      .join("; ")
  }

  store(url: URL, lines: ReadonlyArray<string>): void {
    const jar = this.hosts.get(url.hostname) ?? new Map<string, Cookie>()
    this.hosts.set(url.hostname, jar)
    for (const line of lines) {
      const [pair = "", ...rest] = line.split(";").map((part) => part.trim())
      const at = pair.indexOf("=")
      if (at < 1) continue
      const attributes = new Map(
        rest.map((part) => {
          const equals = part.indexOf("=")
          return equals < 0 ? [part.toLowerCase(), ""] : [part.slice(0, equals).toLowerCase(), part.slice(equals + 1)]
        })
      )
      const name = pair.slice(0, at)
      const path = attributes.get("path") || "/"
      const secure = attributes.has("secure")
      // A `__Host-` cookie that breaks the rules of the prefix is dropped, as a browser drops it.
      if (name.startsWith("__Host-") && (!secure || path !== "/" || attributes.has("domain"))) continue
      const expired = attributes.get("max-age") === "0" || Date.parse(attributes.get("expires") ?? "") <= Date.now()
      if (expired) jar.delete(`${path} ${name}`)
      else jar.set(`${path} ${name}`, { name, value: pair.slice(at + 1), path, secure })
    }
  }

  /** Name and value of every cookie, for a scan of what a person's browser holds. */
  all(): ReadonlyArray<readonly [string, string]> {
    return [...this.hosts.values()].flatMap((jar) => [...jar.values()].map(({ name, value }) => [name, value] as const))
  }

  clear(): void {
    this.hosts.clear()
  }
}

const isLoopback = (hostname: string): boolean =>
  hostname === "localhost" || hostname === "[::1]" || hostname.startsWith("127.")

/** RFC 6265 section 5.1.4. */
const pathMatches = (path: string, cookiePath: string): boolean =>
  path === cookiePath ||
  (path.startsWith(cookiePath) && (cookiePath.endsWith("/") || path[cookiePath.length] === "/"))
