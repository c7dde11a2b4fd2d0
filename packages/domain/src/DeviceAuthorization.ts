import type { Duration, Redacted } from "effect"
import type { Credentials } from "./Credentials.ts"
import type { TokenEndpointAuthMethod } from "./Server.ts"

/** What is asked for when a person is to consent on another device (RFC 8628 §3.1). */
export interface DeviceAuthorizationRequest {
  readonly clientId: string
  readonly authMethod: TokenEndpointAuthMethod
  readonly clientSecret: Redacted.Redacted | undefined
  readonly scopes: ReadonlyArray<string>
  readonly resource: string | undefined
}

/** What a person enters where, and by what the answer is asked for (RFC 8628 §3.2). */
export interface DeviceAuthorization {
  readonly deviceCode: Redacted.Redacted
  /** For whoever started: who knows it can consent with an account of theirs. */
  readonly userCode: Redacted.Redacted
  readonly verificationUri: string
  /** Holds the user code. */
  readonly verificationUriComplete: Redacted.Redacted | undefined
  readonly expiresIn: Duration.Duration
  readonly interval: Duration.Duration
}

/** What an authorization server says about a device code (RFC 8628 §3.5). */
export type DeviceAnswer =
  | { readonly _tag: "Granted"; readonly credentials: Credentials }
  | { readonly _tag: "Pending" }
  /** `interval` is what the server now asks for, when it says so. */
  | { readonly _tag: "SlowDown"; readonly interval: Duration.Duration | undefined }
  | { readonly _tag: "Denied" }
  | { readonly _tag: "Expired" }
