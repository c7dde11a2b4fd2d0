import * as AddressPolicy from "@valetkey/egress/AddressPolicy"
import { Egress } from "@valetkey/egress/Egress"
import type { EgressError, Reason } from "@valetkey/egress/EgressError"
import * as KeyFile from "@valetkey/keyring/KeyFile"
import { type KeyService, KeyServiceError } from "@valetkey/keyring/KeyService"
import * as VaultTransit from "@valetkey/keyring/VaultTransit"
import { Context, Effect, Layer, Redacted, type Scope } from "effect"
import type { VaultSettings } from "./Settings.ts"

/** How long Vault may take: a caller of a token may be waiting for the first answer. */
const patience = "3 seconds"

/** Makes the key service of the configured Vault. It calls that address alone, through the guarded client. */
export const make = (settings: VaultSettings): Effect.Effect<KeyService, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { hostname, port, protocol } = new URL(settings.address)
    const policy = AddressPolicy.globalOnly({
      allow: [`${hostname}:${port === "" ? (protocol === "https:" ? 443 : 80) : port}`]
    })
    const egress = Context.get(
      yield* Layer.build(Layer.fresh(Egress.layer({ policy, connectTimeout: patience }))),
      Egress
    )
    return VaultTransit.make({
      ...settings,
      token: tokenOf(settings.tokenFile),
      send: ({ body, headers, path }) =>
        egress.execute(
          { method: "POST", url: `${settings.address}${path}`, headers, body },
          { trust: "public", maxBytes: 64 * 1024, headersTimeout: patience, timeout: patience }
        ).pipe(Effect.mapError(problemOf))
    })
  })

/** The token as its keeper left it; read anew each time, so that it is in memory for one request only. */
const tokenOf = (path: string) =>
  KeyFile.read(path).pipe(
    Effect.map((text) => Redacted.make(Redacted.value(text).trim())),
    Effect.filterOrFail((token) => /^[\x21-\x7E]{1,8192}$/.test(Redacted.value(token))),
    Effect.mapError(() => new KeyServiceError({ problem: "token_unreadable" }))
  )

const problemOf = ({ reason }: EgressError) => new KeyServiceError({ problem: problems[reason._tag] })

const problems = {
  Refused: "address_refused",
  Unreachable: "unreachable",
  Interrupted: "interrupted",
  Timeout: "late",
  TooLarge: "malformed",
  Redirected: "redirected"
} as const satisfies Record<Reason["_tag"], KeyServiceError["problem"]>
