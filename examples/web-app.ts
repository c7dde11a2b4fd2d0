// A web application with users of its own that lets them connect an account: `node examples/web-app.ts`.
// It finalizes flows, so nobody can have somebody else's account connected to their own name.
import { createHmac, randomBytes } from "node:crypto"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"

const variable = (name: string): string => {
  const value = process.env[name]
  if (value === undefined || value === "") throw new Error(`${name} must be set`)
  return value
}

const valetkey = variable("VALETKEY_SERVER")
const origin = variable("APP_ORIGIN")
/** One of VALETKEY_RETURN_URLS, to the letter. */
const returnTo = `${origin}/connected`

/** Who is signed in, by session. A real application has a login; this one believes every name. */
const sessions = new Map<string, string>()

const userOf = (request: IncomingMessage): string | undefined =>
  sessions.get(/(?:^|; )session=([^;]+)/.exec(request.headers.cookie ?? "")?.[1] ?? "")

/** The credential under which this application speaks for one of its users. */
const tokenOf = (user: string): string => {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url")
  const signed = `${encode({ alg: "HS256" })}.${
    encode({
      iss: variable("VALETKEY_JWT_ISSUER"),
      aud: variable("VALETKEY_JWT_AUDIENCE"),
      tenant: "web-app",
      sub: user,
      scope: "flows:write connections:read",
      exp: Math.floor(Date.now() / 1000) + 60
    })
  }`
  return `${signed}.${createHmac("sha256", variable("VALETKEY_JWT_SECRET")).update(signed).digest("base64url")}`
}

const ask = async (user: string, path: string, body: object): Promise<Readonly<Record<string, unknown>>> => {
  const response = await fetch(`${valetkey}${path}`, {
    method: "POST",
    headers: { authorization: `Bearer ${tokenOf(user)}`, "content-type": "application/json" },
    body: JSON.stringify(body)
  })
  return await response.json() as Readonly<Record<string, unknown>>
}

/**
 * Whether a page of this application sent the form. A link or a form of somebody else must neither sign a person in, which would
 * have them connect their account for another user, nor begin a flow in their name.
 */
const isOwn = ({ headers }: IncomingMessage): boolean =>
  headers.origin === origin && (headers["sec-fetch-site"] ?? "same-origin") === "same-origin"

const fieldsOf = async (request: IncomingMessage): Promise<URLSearchParams> => {
  let text = ""
  for await (const chunk of request) if ((text += String(chunk)).length > 1024) break
  return new URLSearchParams(text)
}

const answer = (response: ServerResponse, text: string, status = 200): void =>
  void response.writeHead(status, { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" }).end(
    text
  )

const form = (response: ServerResponse, action: string, fields: string, before = ""): void =>
  void response.writeHead(200, {
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'"
  }).end(`<!doctype html><title>Notes</title>${before}<form method="post" action="${action}">${fields}</form>`)

const redirect = (response: ServerResponse, location: string, cookie?: string): void =>
  void response.writeHead(303, { location, ...(cookie === undefined ? {} : { "set-cookie": cookie }) }).end()

const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
  const url = new URL(request.url ?? "/", origin)
  const user = userOf(request)
  switch (`${request.method} ${url.pathname}`) {
    case "GET /":
      return user === undefined
        ? form(response, "/login", "<input name=\"user\"><button>Sign in</button>")
        : form(response, "/connect", "<button>Connect notes</button>", `<p>Signed in as ${user}`)
    case "POST /login": {
      if (!isOwn(request)) return answer(response, "Sign in on the page of this application", 403)
      const name = (await fieldsOf(request)).get("user") ?? ""
      if (!/^[a-z]{1,32}$/.test(name)) return answer(response, "A name is 1 to 32 letters of a-z", 400)
      const session = randomBytes(32).toString("base64url")
      sessions.set(session, name)
      // Back to the page: a person decides to connect where they see who they are.
      return redirect(response, "/", `session=${session}; HttpOnly; SameSite=Lax; Path=/`)
    }
    case "POST /connect": {
      if (!isOwn(request)) return answer(response, "Connect on the page of this application", 403)
      if (user === undefined) return redirect(response, "/")
      const started = await ask(user, "/v1/flows", {
        server: "notes",
        confirmation: "finalize",
        returnTo,
        onConflict: "supersede"
      })
      if (started["alreadyConnected"] === true) return answer(response, `${user} is connected`)
      return typeof started["authorizationUrl"] === "string"
        ? redirect(response, started["authorizationUrl"])
        : answer(response, `Not connected: ${String(started["code"])}`, 502)
    }
    case "GET /connected": {
      if (user === undefined) return answer(response, "Sign in first", 401)
      const { completion_code: completionCode, error, flow_id: flowId } = Object.fromEntries(url.searchParams)
      if (completionCode === undefined || flowId === undefined) return answer(response, `Not connected: ${error}`, 400)
      // The user is whoever is signed in in the browser that came back, whoever began the flow.
      const flow = await ask(user, `/v1/flows/${encodeURIComponent(flowId)}/finalize`, { completionCode })
      return flow["status"] === "completed"
        ? answer(response, `${user} is connected`)
        : answer(response, `Not connected: ${String(flow["code"] ?? flow["status"])}`, 403)
    }
    default:
      return answer(response, "Nothing here", 404)
  }
}

createServer((request, response) => {
  serve(request, response).catch(() => answer(response, "Not now", 502))
}).listen(Number(new URL(origin).port), "127.0.0.1", () => console.log(`Open ${origin}/`))
