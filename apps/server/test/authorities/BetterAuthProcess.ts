// better-auth with its OAuth provider: an issuer with a path, rotation that revokes the family on reuse.
import { oauthProvider } from "@better-auth/oauth-provider"
import { betterAuth, type BetterAuthPlugin } from "better-auth"
import { memoryAdapter } from "better-auth/adapters/memory"
import { jwt } from "better-auth/plugins"
import { randomBytes } from "node:crypto"
import { lifetime, page, serve } from "./webServer.ts"

const person = { email: "alice@example.test", password: randomBytes(16).toString("hex"), name: "Alice" }
const scopes = ["openid", "offline_access", "mcp:read"]
const tables = [
  "user",
  "session",
  "account",
  "verification",
  "jwks",
  "oauthClient",
  "oauthRefreshToken",
  "oauthAccessToken",
  "oauthConsent",
  "oauthResource",
  "oauthClientResource",
  "oauthClientAssertion",
  "rateLimit"
]

await serve({
  tokenPath: "/api/auth/oauth2/token",
  resourcePath: "/mcp",
  handler: async (origin) => {
    const auth = betterAuth({
      baseURL: origin,
      secret: randomBytes(32).toString("hex"),
      database: memoryAdapter(Object.fromEntries(tables.map((table) => [table, []]))),
      emailAndPassword: { enabled: true },
      rateLimit: { enabled: false },
      telemetry: { enabled: false },
      disabledPaths: ["/token"],
      plugins: [
        jwt(),
        // Its own types differ from the library's in what exact optional properties allow.
        oauthProvider({
          loginPage: "/sign-in",
          consentPage: "/consent",
          allowDynamicClientRegistration: true,
          allowUnauthenticatedClientRegistration: true,
          scopes,
          resources: [`${origin}/mcp`],
          enforcePerClientResources: false,
          clientRegistrationDefaultScopes: scopes,
          accessTokenExpiresIn: lifetime
        }) as unknown as BetterAuthPlugin
      ]
    })
    await auth.api.signUpEmail({ body: person })

    /** What a script of its pages would do with an answer: go where it says. */
    const onward = async (answer: Response): Promise<Response> => {
      if (answer.headers.has("location")) return answer
      const { redirect_uri, url } = await answer.json() as { readonly url?: string; readonly redirect_uri?: string }
      const headers = new Headers({ location: url ?? redirect_uri ?? "" })
      for (const cookie of answer.headers.getSetCookie()) headers.append("set-cookie", cookie)
      return new Response(null, { status: 302, headers })
    }

    /** Passes a form on to the JSON interface behind it, with the cookies of the browser both ways. */
    const submit = async (request: Request, path: string, body: object): Promise<Response> => {
      const answer = await auth.handler(
        new Request(`${origin}/api/auth${path}`, {
          method: "POST",
          headers: { "content-type": "application/json", origin, cookie: request.headers.get("cookie") ?? "" },
          body: JSON.stringify(body)
        })
      )
      return onward(answer)
    }

    const resource = async (request: Request): Promise<Response> => {
      const authorization = request.headers.get("authorization")
      if (authorization !== null) {
        const known = await auth.handler(
          new Request(`${origin}/api/auth/oauth2/userinfo`, { headers: { authorization } })
        )
        if (known.status === 200) return Response.json({ ok: true })
      }
      const metadata = `${origin}/.well-known/oauth-protected-resource/mcp`
      return new Response(null, {
        status: 401,
        headers: { "www-authenticate": `Bearer resource_metadata="${metadata}"` }
      })
    }

    return async (request) => {
      const { pathname, search } = new URL(request.url)
      if (pathname === "/mcp") return resource(request)
      if (pathname === "/.well-known/oauth-protected-resource/mcp") {
        return Response.json({
          resource: `${origin}/mcp`,
          authorization_servers: [`${origin}/api/auth`],
          scopes_supported: scopes
        })
      }
      if (pathname === "/api/auth/oauth2/authorize") return onward(await auth.handler(request))
      if (pathname !== "/sign-in" && pathname !== "/consent") return auth.handler(request)
      const oauth_query = search.slice(1)
      if (request.method === "GET") {
        const html = pathname === "/consent" ? page("Consent", ["allow", "deny"]) : page("Sign in", ["sign in"])
        return new Response(html, { headers: { "content-type": "text/html" } })
      }
      const accept = (await request.formData()).get("decision") === "allow"
      return pathname === "/consent"
        ? submit(request, "/oauth2/consent", { accept, oauth_query })
        : submit(request, "/sign-in/email", { ...person, oauth_query })
    }
  }
})
