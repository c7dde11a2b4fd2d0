import type { OpenAPISpec, OpenAPISpecOperation } from "effect/http-api/OpenApi"
import type * as HttpServerResponse from "effect/http/HttpServerResponse"
import { escape, page } from "./Page.ts"

const methods = ["get", "post", "put", "patch", "delete"] as const

/** A page to read the contract on: every endpoint with its parameters, its body and its answers. Needs no script. */
export const render = (spec: OpenAPISpec): HttpServerResponse.HttpServerResponse =>
  page(
    `${spec.info.title} API`,
    `<p>${escape(spec.info.description ?? "")} The whole contract: <a href="/v1/openapi.json">openapi.json</a>.</p>` +
      Object.entries(spec.paths).flatMap(([path, item]) =>
        methods.flatMap((method) => {
          const operation = item[method]
          return operation === undefined ? [] : [sectionOf(`${method.toUpperCase()} ${path}`, operation)]
        })
      ).join("")
  )

const sectionOf = (title: string, operation: OpenAPISpecOperation): string => {
  const parameters = operation.parameters.map(({ in: place, name, required }) =>
    `<code>${escape(name)}</code> (${escape(place)}${required ? "" : ", optional"})`
  )
  const body = Object.values(operation.requestBody?.content ?? {}).flatMap(({ schema }) => namesOf(schema))
  const answers = Object.entries(operation.responses).map(([status, { description }]) =>
    `<code>${escape(status)}</code> ${escape(description.replaceAll(/[<>]/g, ""))}`
  )
  return `<section><h2><code>${escape(title)}</code></h2><p>${escape(operation.summary ?? "")}</p>` +
    line("Parameters", parameters) + line("Body", body.map((name) => `<code>${escape(name)}</code>`)) +
    line("Answers", answers) + "</section>"
}

const line = (label: string, parts: ReadonlyArray<string>): string =>
  parts.length === 0 ? "" : `<p>${label}: ${parts.join(", ")}</p>`

/** The component names that a schema refers to. */
const namesOf = (schema: unknown): ReadonlyArray<string> =>
  [...JSON.stringify(schema).matchAll(/#\/components\/schemas\/([^"]+)/g)].map((match) => match[1]!)
