import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { Context, Schema } from "effect"

/** Schema for what a principal may be allowed to do. */
export const ApiScope = Schema.Literals([
  "flows:write",
  "connections:read",
  "connections:write",
  /** The caller's connections with their refresh tokens, sealed to whoever the caller names. */
  "connections:export",
  "tokens:read",
  "proxy",
  /** What belongs to the tenant of the caller: its servers, API keys and audit chain. */
  "admin",
  /** What belongs to the installation and so to every tenant: its root keys and its instance. */
  "operator"
])
export type ApiScope = typeof ApiScope.Type

/**
 * Schema for how a principal proved who it is: a signed token, a stored key, the boot token of the local profile, or a
 * browser's session in the console, which calls what the console shows and nothing else.
 */
export const PrincipalKind = Schema.Literals(["jwt", "api_key", "local", "console"])
export type PrincipalKind = typeof PrincipalKind.Type

/** Who calls, on whose behalf, and what it may do. Made from the credential alone, never from a body. */
export class Principal extends Schema.Class<Principal>("valetkey/Principal")({
  kind: PrincipalKind,
  tenant: TenantId,
  subject: SubjectId,
  scopes: Schema.Array(ApiScope)
}) {}

/** The principal of the current request; provided by `Authorization`. */
export class CurrentPrincipal
  extends Context.Service<CurrentPrincipal, Principal>()("@valetkey/api/CurrentPrincipal")
{}
