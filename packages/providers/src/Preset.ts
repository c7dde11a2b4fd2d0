import { Quirks, ScopeToken, ServerSlug, TokenEndpointAuthMethod } from "@valetkey/domain/Server"
import { Schema } from "effect"

/** Schema for an https URL in which `{name}` stands for a parameter. */
export const UrlTemplate = Schema.String.check(
  Schema.isMaxLength(2048),
  Schema.makeFilter((text) =>
    isHttps(text.replaceAll(placeholder, "x1"))
      ? undefined
      : "expected an absolute https URL without credentials and fragment, with {name} where a parameter stands"
  )
)

const HttpsUrl = Schema.String.check(
  Schema.isMaxLength(2048),
  Schema.makeFilter((text) => isHttps(text) ? undefined : "expected an absolute https URL")
)

/** What stands for a parameter in a template. */
export const placeholder = /\{([a-z][a-zA-Z0-9]*)\}/g

/** Schema for a value that a person must give, such as the tenant of an account. */
export const Parameter = Schema.Struct({
  description: Schema.NonEmptyString,
  example: Schema.NonEmptyString,
  default: Schema.optionalKey(Schema.NonEmptyString)
})

/**
 * Schema for what an answer of the provider does beside the standards that is understood without being told:
 *
 * - `error_in_success`: refuses with status 200 and an `error`
 * - `form_encoded`: answers with a form where no JSON is asked for
 * - `comma_scopes`: names the granted scopes separated by commas
 * - `no_lifetime`: says nothing of when the access token ends
 * - `no_token_type`: leaves out `token_type`
 * - `no_refresh_token_again`: a refresh answers without the refresh token, which stays good
 * - `former_access_token_ends`: a refresh ends the access token before
 */
export const Answer = Schema.Literals([
  "error_in_success",
  "form_encoded",
  "comma_scopes",
  "no_lifetime",
  "no_token_type",
  "no_refresh_token_again",
  "former_access_token_ends"
])
export type Answer = typeof Answer.Type

const Days = Schema.Finite.check(Schema.isGreaterThan(0))

/** Schema for what becomes of refresh tokens, as far as it is documented. */
export const RefreshTokens = Schema.Struct({
  /** `rotating`: each is good once and brings the next; `reusable`: one stays; `none`: there are no refresh tokens. */
  kind: Schema.Literals(["rotating", "reusable", "none"]),
  /** What a used one does: it is refused, still works for a while, or ends all tokens of the grant. */
  reuse: Schema.optionalKey(Schema.Literals(["refused", "grace", "ends_grant"])),
  /** Days after which one that nobody used ends. */
  idleDays: Schema.optionalKey(Days),
  /** Days after which the person must consent again whatever was done meanwhile. */
  absoluteDays: Schema.optionalKey(Days)
})

/** Schema for where a client comes from. */
export const Registration = Schema.Union([
  /** The provider registers clients by itself (RFC 7591) or reads their metadata documents. */
  Schema.Struct({ kind: Schema.Literal("dynamic") }),
  /**
   * A person creates one there. `https` redirect URIs alone leave no way back to a program on a person's machine; where
   * `localhost` is the only host on http, the loopback address is refused.
   */
  Schema.Struct({
    kind: Schema.Literal("console"),
    url: UrlTemplate,
    redirectUris: Schema.optionalKey(Schema.Literals(["https", "localhost"]))
  })
])

/** Schema for how one provider speaks OAuth, from its public documentation. What is not documented is left out. */
export const Preset = Schema.Struct({
  id: ServerSlug,
  name: Schema.String.check(Schema.isBetweenLength(1, 255)),
  /** The page that all of this rests on. */
  documentation: HttpsUrl,
  /** The day on which what is peculiar here was last held against the documentation; absent when nobody wrote one down. */
  verified: Schema.optionalKey(Schema.String.check(Schema.isPattern(/^\d{4}-\d{2}-\d{2}$/, {
    expected: "a day as YYYY-MM-DD"
  }))),
  /** Where the tokens are used. */
  resource: UrlTemplate,
  /** Whose metadata is read; beside `endpoints` it is only what ID tokens are compared with. */
  issuer: Schema.optionalKey(UrlTemplate),
  endpoints: Schema.optionalKey(Schema.Struct({
    authorization: UrlTemplate,
    token: UrlTemplate,
    revocation: Schema.optionalKey(UrlTemplate),
    introspection: Schema.optionalKey(UrlTemplate),
    deviceAuthorization: Schema.optionalKey(UrlTemplate)
  })),
  parameters: Schema.optionalKey(Schema.Record(Schema.String, Parameter)),
  /** What is asked for where nobody says what. */
  scopes: Schema.optionalKey(Schema.Array(ScopeToken)),
  registration: Registration,
  /** How a client with a secret proves itself (RFC 7591 §2). */
  authMethod: TokenEndpointAuthMethod,
  refreshTokens: Schema.optionalKey(RefreshTokens),
  quirks: Schema.optionalKey(Quirks),
  answers: Schema.optionalKey(Schema.Array(Answer)),
  /** What a person has to know or do besides. */
  note: Schema.optionalKey(Schema.NonEmptyString)
}).annotate({ identifier: "Preset" })
export type Preset = typeof Preset.Type

const isHttps = (text: string): boolean => {
  const url = URL.parse(text)
  return url !== null && url.protocol === "https:" && url.username === "" && url.password === "" && url.hash === ""
}
