// @cloudflare/workers-oauth-provider on plain Node: rotation with grace, the previous refresh token lives until the new one
// is used. What it takes from its platform is a base class and a key-value store.
import { registerHooks } from "node:module"
import { KeyValues } from "./keyValues.ts"
import { lifetime, page, serve } from "./webServer.ts"

registerHooks({
  resolve: (specifier, context, next) =>
    specifier === "cloudflare:workers"
      ? { url: "data:text/javascript,export class WorkerEntrypoint{}", format: "module", shortCircuit: true }
      : next(specifier, context)
})

/** What of the library's helpers the consent page needs. */
interface Helpers {
  parseAuthRequest(request: Request): Promise<object>
  beginConsent(request: object): Promise<{ readonly handle: string; readonly headers: HeadersInit }>
  approveConsent(request: Request, handle: string): Promise<Approved>
  denyConsent(request: Request, handle: string): Promise<{ readonly headers: HeadersInit; readonly redirectTo: string }>
  completeAuthorization(options: object): Promise<{ readonly redirectTo: string }>
}
interface Approved {
  readonly headers: HeadersInit
  readonly request: { readonly scope: ReadonlyArray<string> }
}

const consent = async (request: Request, helpers: Helpers): Promise<Response> => {
  if (new URL(request.url).pathname !== "/authorize") return new Response(null, { status: 404 })
  if (request.method === "GET") {
    const { handle, headers } = await helpers.beginConsent(await helpers.parseAuthRequest(request))
    return new Response(page("Consent", ["allow", "deny"], { handle }), {
      headers: headersWith(headers, "content-type", "text/html")
    })
  }
  const form = await request.clone().formData()
  const handle = String(form.get("handle"))
  if (form.get("decision") === "deny") {
    const { headers, redirectTo } = await helpers.denyConsent(request, handle)
    return new Response(null, { status: 302, headers: headersWith(headers, "location", redirectTo) })
  }
  const { headers, request: approved } = await helpers.approveConsent(request, handle)
  const { redirectTo } = await helpers.completeAuthorization({
    request: approved,
    userId: "alice",
    scope: approved.scope,
    metadata: {},
    props: {}
  })
  return new Response(null, { status: 302, headers: headersWith(headers, "location", redirectTo) })
}

const headersWith = (headers: HeadersInit, name: string, value: string): Headers => {
  const all = new Headers(headers)
  all.set(name, value)
  return all
}

await serve({
  tokenPath: "/token",
  resourcePath: "/mcp",
  handler: async (origin) => {
    const { OAuthProvider } = await import("@cloudflare/workers-oauth-provider")
    const provider = new OAuthProvider({
      apiRoute: "/mcp",
      apiHandler: { fetch: async () => Response.json({ ok: true }) },
      defaultHandler: {
        fetch: (request: Request, env: { readonly OAUTH_PROVIDER: Helpers }) => consent(request, env.OAUTH_PROVIDER)
      },
      authorizeEndpoint: "/authorize",
      tokenEndpoint: "/token",
      clientRegistrationEndpoint: "/register",
      accessTokenTTL: lifetime,
      scopesSupported: ["mcp:read", "offline_access"],
      resourceMetadata: { resource: `${origin}/mcp`, authorization_servers: [origin] },
      clientIdMetadataDocumentEnabled: false,
      onError: () => {}
    })
    const env = { OAUTH_KV: new KeyValues() }
    const context = { waitUntil() {}, passThroughOnException() {}, props: {} }
    return (request) => provider.fetch(request, env, context)
  }
})
