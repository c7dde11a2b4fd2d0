import type { Rotation } from "./fakeGrants.ts"
import type { Quirk } from "./fakeQuirks.ts"

/** Endpoints of the fake provider by the name under which they are scripted. */
export type Endpoint =
  | "serverMetadata"
  | "resourceMetadata"
  | "registration"
  | "pushedAuthorization"
  | "authorization"
  | "device"
  | "token"
  | "revocation"
  | "introspection"
  | "resource"
  | "elsewhere"

/** How the honest server behaves; every member may change while it runs. */
export interface Behaviour {
  rotation: Rotation
  accessTokenTtlSeconds: number
  /** How long a refresh token may lie unused, which every answer says; undefined for as long as anybody likes. */
  refreshTokenIdleSeconds: number | undefined
  /** Issues refresh tokens. */
  refreshTokens: boolean
  /** Refuses a request without PKCE S256. */
  requirePkce: boolean
  /** The `iss` of authorization responses: the issuer, none, or another one. */
  iss: "on" | "off" | { readonly wrong: string }
  /** What the person, who answers at once, says; an error code refuses with that code. */
  consent: "approve" | { readonly error: string }
  subject: string
  /** Scopes granted instead of those requested. */
  grantedScopes: ReadonlyArray<string> | undefined
  /** Scopes the resource demands. */
  requiredScopes: ReadonlyArray<string>
  registration: boolean
  /** Accepts an `https` URL as a client id (CIMD) without fetching it. */
  clientIdDocuments: boolean
  /** How it departs from the standards. */
  quirks: ReadonlyArray<Quirk>
}

/** A request as it arrived. */
export interface Incoming {
  readonly method: string
  readonly url: URL
  readonly headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
  readonly body: string
  readonly form: URLSearchParams
}
