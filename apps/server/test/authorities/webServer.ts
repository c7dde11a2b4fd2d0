import { createHash } from "node:crypto"
import { createServer, type IncomingMessage } from "node:http"
import type { AddressInfo } from "node:net"
import { buffer } from "node:stream/consumers"

/** Answers requests of the web platform, as these servers take them. */
export type Handler = (request: Request) => Promise<Response>

/**
 * Serves a handler on a free port of the loopback interface, notes what its token endpoint is asked, and tells the parent
 * where it is and every secret that it issues.
 */
export const serve = async (options: {
  readonly tokenPath: string
  readonly resourcePath: string
  readonly handler: (origin: string) => Promise<Handler>
}): Promise<void> => {
  const redemptions: Array<{ presented: string; status: number }> = []
  let handler: Handler = async () => new Response(null, { status: 503 })
  let origin = ""

  const answer = async (message: IncomingMessage): Promise<Response> => {
    const url = `${origin}${message.url}`
    const { pathname } = new URL(url)
    if (pathname === "/__redemptions") return Response.json(redemptions)
    const body = await buffer(message)
    const request = new Request(url, {
      method: message.method ?? "GET",
      headers: Object.entries(message.headers).flatMap(([name, value]) =>
        [value ?? []].flat().map((one): [string, string] => [name, one])
      ),
      ...(body.length === 0 ? {} : { body: new Uint8Array(body) })
    })
    const response = await handler(request)
    if (pathname !== options.tokenPath) return response
    const form = new URLSearchParams(body.toString())
    const issued = await response.clone().json().catch(() => ({})) as Readonly<Record<string, unknown>>
    for (const kind of ["access_token", "refresh_token"]) {
      if (typeof issued[kind] === "string") process.send?.({ kind, secret: issued[kind] })
    }
    const presented = form.get("refresh_token")
    if (presented !== null) {
      redemptions.push({
        presented: createHash("sha256").update(presented).digest("base64url"),
        status: response.status
      })
    }
    return response
  }

  const server = createServer((message, reply) => {
    answer(message).then(async (response) => {
      const body = Buffer.from(await response.arrayBuffer())
      for (const [name, value] of response.headers) if (name !== "set-cookie") reply.setHeader(name, value)
      const cookies = response.headers.getSetCookie()
      if (cookies.length > 0) reply.setHeader("set-cookie", cookies)
      reply.writeHead(response.status).end(body)
    }).catch((error: unknown) => {
      console.error(error)
      reply.writeHead(500).end()
    })
  })
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  handler = await options.handler(origin)
  process.send?.({ origin, resource: `${origin}${options.resourcePath}` })
}

/** A page with one form; its button says one of these decisions. */
export const page = (
  title: string,
  decisions: ReadonlyArray<string>,
  hidden: Readonly<Record<string, string>> = {}
): string =>
  `<!doctype html><title>${title}</title><h1>${title}</h1><form method="post">${
    Object.entries(hidden).map(([name, value]) =>
      `<input type="hidden" name="${name}" value="${value.replaceAll("&", "&amp;").replaceAll("\"", "&quot;")}">`
    ).join("")
  }${decisions.map((decision) => `<button name="decision" value="${decision}">${decision}</button>`).join("")}</form>`

/** Seconds that access tokens live. */
export const lifetime = Number(process.env["ACCESS_TOKEN_LIFETIME"])
