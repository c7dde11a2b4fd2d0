import { ApiScope, Principal } from "@valetkey/api/Principal"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { Effect, Layer, Redacted } from "effect"
import { hash, timingSafeEqual } from "node:crypto"
import { Authenticator, Unauthorized } from "./Authenticator.ts"

/** The one principal of the local profile: the owner of the machine's account, with every scope. */
export const localPrincipal = new Principal({
  kind: "local",
  tenant: TenantId.make("local"),
  subject: SubjectId.make("local"),
  scopes: ApiScope.literals
})

/** Layer that knows the boot token of the local profile and nothing else. Tokens are compared in constant time. */
export const layer = (options: { readonly token: Redacted.Redacted }): Layer.Layer<Authenticator> => {
  const expected = digest(Redacted.value(options.token))
  const remembered = (credential: string) => timingSafeEqual(digest(credential), expected) ? localPrincipal : undefined
  return Layer.succeed(
    Authenticator,
    Authenticator.of({
      remembered,
      authenticate: (credential) => {
        const principal = remembered(Redacted.value(credential))
        return principal === undefined
          ? Effect.fail(new Unauthorized({ code: "unauthorized" }))
          : Effect.succeed(principal)
      }
    })
  )
}

const digest = (text: string): Buffer => hash("sha256", text, "buffer")
