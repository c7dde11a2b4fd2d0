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

const answer = (response: ServerResponse, text: string, status = 200): void =>
  void response.writeHead(status, { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" }).end(
    text
  )

const redirect = (response: ServerResponse, location: string, cookie?: string): void =>
  void response.writeHead(303, { location, ...(cookie === undefined ? {} : { "set-cookie": cookie }) }).end()

const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
  const url = new URL(request.url ?? "/", origin)
  if (url.pathname === "/login") {
    const session = randomBytes(32).toString("base64url")
    sessions.set(session, url.searchParams.get("user") ?? "nobody")
    return redirect(response, "/connect", `session=${session}; HttpOnly; SameSite=Lax; Path=/`)
  }
  const user = userOf(request)
  if (user === undefined) return answer(response, "Sign in first: /login?user=ada", 401)
  switch (url.pathname) {
    case "/connect": {
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
    case "/connected": {
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
}).listen(Number(new URL(origin).port), "127.0.0.1", () => console.log(`Open ${origin}/login?user=ada`))
