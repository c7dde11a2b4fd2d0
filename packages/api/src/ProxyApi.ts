import type { Policy } from "./Policy.ts"

/** Where the proxy begins: `/v1/proxy/{server}` and everything below. */
export const proxyPrefix = "/v1/proxy/"

/** The methods that the proxy passes on. TRACE would show the token to its caller, CONNECT is no request for a resource. */
export const proxyMethods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"] as const

/** Who may send requests through the proxy. */
export const proxyPolicy: Policy = { _tag: "Guarded", scopes: ["proxy"], kinds: ["jwt", "api_key", "local"] }

/**
 * Adds the proxy to the document of the contract. It is no endpoint of it: any method, any path below the resource, and
 * bodies that nobody decodes have no place in one.
 */
export const describeProxy = (document: Readonly<Record<string, unknown>>): Record<string, unknown> => {
  const { components, paths, tags } = document as unknown as Described
  const problem = {
    description: "Problem details (RFC 9457)",
    content: { "application/problem+json": { schema: { $ref: `#/components/schemas/${nameOfProblem(components)}` } } }
  }
  return {
    ...document,
    paths: { ...paths, [`${proxyPrefix}{server}/{path}`]: operations(problem) },
    tags: [...tags, { name: "proxy", description: "Requests to a server's resource, with the token added here." }]
  }
}

/** What is read of the document. */
interface Described {
  readonly paths: object
  readonly tags: ReadonlyArray<object>
  readonly components: { readonly schemas: object }
}

const nameOfProblem = ({ schemas }: Described["components"]): string =>
  Object.keys(schemas).find((name) => name.startsWith("valetkey_ApiProblem"))!

// QUERY has no place in OpenAPI 3.1.
const operations = (problem: object) =>
  Object.fromEntries(
    proxyMethods.filter((method) => method !== "QUERY").map((method) => [
      method.toLowerCase(),
      {
        tags: ["proxy"],
        operationId: `proxy.${method.toLowerCase()}`,
        summary: `${method} below the resource of a server, with the caller's token for it`,
        parameters,
        security: [{ bearer: [] }],
        ...(["POST", "PUT", "PATCH"].includes(method) ? { requestBody: { content: { "*/*": { schema: {} } } } } : {}),
        responses: {
          default: {
            description: "What the resource answers, without cookies, challenges and what belongs to a connection"
          },
          ...Object.fromEntries(
            [400, 401, 403, 404, 405, 409, 410, 421, 429, 500, 502, 503, 504].map((status) => [status, problem])
          )
        }
      }
    ])
  )

const parameters = [
  { name: "server", in: "path", required: true, schema: { type: "string" } },
  {
    name: "path",
    in: "path",
    required: true,
    description: "A path below the resource, slashes included; empty for the resource itself.",
    schema: { type: "string" }
  }
]
