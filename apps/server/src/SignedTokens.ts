import * as AddressPolicy from "@valetkey/egress/AddressPolicy"
import { Egress } from "@valetkey/egress/Egress"
import { asFetch } from "@valetkey/egress/EgressFetch"
import * as JwtAuthenticator from "@valetkey/http/JwtAuthenticator"
import { Effect, Layer } from "effect"
import type { Settings } from "./Settings.ts"

type ServerSettings = Extract<Settings, { readonly profile: "server" }>

/** Layer that verifies the signed tokens of a deployment's callers. */
export const layer = (settings: ServerSettings) => {
  const { audience, issuer, key } = settings.jwt
  return key._tag === "secret"
    ? JwtAuthenticator.layerSecret({ issuer, audience, secret: key.secret })
    : layerJwks(settings, { issuer, audience, url: new URL(key.url) })
}

/** The operator names the key set, so it may be anywhere; redirects, sizes and times are bounded as for all that leaves. */
const layerJwks = (settings: ServerSettings, options: JwtAuthenticator.JwksOptions) => {
  const { hostname, port, protocol } = options.url
  const policy = AddressPolicy.globalOnly({
    allow: [...settings.allowEgress, `${hostname}:${port === "" ? (protocol === "https:" ? 443 : 80) : port}`]
  })
  return Layer.unwrap(
    Effect.map(
      Egress,
      (egress) => JwtAuthenticator.layerJwks({ ...options, fetch: asFetch(egress, "public") })
    )
  ).pipe(Layer.provide(Layer.fresh(Egress.layer({ policy }))))
}
