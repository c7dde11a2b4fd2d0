import * as AddressPolicy from "@valetkey/egress/AddressPolicy"
import { Egress } from "@valetkey/egress/Egress"
import { redactedParameters } from "@valetkey/http/Redaction"
import { Duration, Effect, Layer, type Redacted } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import { HttpClientError, TransportError } from "effect/http/HttpClientError"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Otlp from "effect/observability/Otlp"
import { scrub } from "./Logs.ts"
import type { TelemetrySettings } from "./Settings.ts"

/** Layer that sends traces, metrics and logs to a collector. What looks like a secret is blanked before it leaves. */
export const layer = (settings: TelemetrySettings): Layer.Layer<never> =>
  Otlp.layerJson({
    baseUrl: settings.endpoint,
    resource: { serviceName: settings.serviceName },
    metricsExportInterval: Duration.seconds(10),
    shutdownTimeout: Duration.seconds(3)
  }).pipe(
    Layer.provide(layerCollector(settings.headers)),
    Layer.provide(Egress.layer({ policy: AddressPolicy.globalOnly({ allow: [endpointOf(settings.endpoint)] }) }))
  )

/** The client of one collector: the guarded one, which reaches that address and no other that is not global. */
const layerCollector = (headers: TelemetrySettings["headers"]) =>
  Layer.effect(
    HttpClient.HttpClient,
    Effect.map(Egress, (egress) =>
      HttpClient.make((request, url, signal) => {
        const credentials: ReadonlyArray<readonly [string, string | Redacted.Redacted]> = headers
        const { body } = request
        return egress.execute({
          method: request.method,
          url,
          headers: Object.fromEntries([...Object.entries(request.headers), ...credentials]),
          body: body._tag === "Uint8Array" ? blank(body.body) : undefined
        }, { trust: "public", keepAlive: true, signal }).pipe(
          Effect.map(({ body, headers, status }) =>
            HttpClientResponse.fromWeb(
              request,
              new Response(status === 204 ? null : Uint8Array.from(body), { status, headers })
            )
          ),
          Effect.mapError((error) =>
            new HttpClientError({ reason: new TransportError({ request, description: error.code }) })
          )
        )
      }))
  )

/**
 * Blanks secrets in an export. They are kept out where they are made and in every span; this is for the texts of causes
 * that other people's code threw.
 */
export const blank = (body: Uint8Array): string =>
  JSON.stringify(JSON.parse(Buffer.from(body).toString("utf8")), (_, value: unknown) => {
    if (typeof value === "string") return scrub(value)
    return isNamed(value) && redactedParameters.includes(value.key.toLowerCase())
      ? { key: value.key, value: { stringValue: "<redacted>" } }
      : value
  })

const isNamed = (value: unknown): value is { readonly key: string; readonly value: unknown } =>
  typeof value === "object" && value !== null && "key" in value && typeof value.key === "string" && "value" in value

const endpointOf = (url: string): string => {
  const { hostname, port, protocol } = new URL(url)
  return `${hostname}:${port === "" ? protocol === "https:" ? 443 : 80 : port}`
}
