import type { Answer } from "../Reply.ts"

/**
 * How a provider departs from the standards, one thing each:
 *
 * - `error_in_success`: refuses with status 200
 * - `form_encoded`: answers with a form
 * - `comma_scopes`: names granted scopes separated by commas
 * - `no_lifetime`, `zero_lifetime`: says nothing of when an access token ends, or 0 of one that does not end
 * - `no_token_type`, `other_token_type`: leaves the type out, or calls it `user`
 * - `no_refresh_token_again`: a refresh answers without the refresh token, which stays good
 * - `former_access_token_ends`: a refresh ends the access tokens before
 * - `nested_tokens`: the person's tokens are in `authed_user`, beside a bot's
 * - `scopes_by_comma`, `scopes_elsewhere`: wants scopes separated by commas, or in `user_scope`
 * - `json_requests`: reads nothing but JSON
 * - `refuses_resource`: refuses a request with `resource`
 * - `bearer_revocation`: a token is revoked by the request that it authorizes
 */
export type Quirk =
  | "error_in_success"
  | "form_encoded"
  | "comma_scopes"
  | "no_lifetime"
  | "zero_lifetime"
  | "no_token_type"
  | "other_token_type"
  | "no_refresh_token_again"
  | "former_access_token_ends"
  | "nested_tokens"
  | "scopes_by_comma"
  | "scopes_elsewhere"
  | "json_requests"
  | "refuses_resource"
  | "bearer_revocation"

type Quirks = ReadonlyArray<Quirk>

/** The scopes that an authorization request asks for, as this provider reads them. */
export const requestedScopes = (parameters: URLSearchParams, quirks: Quirks): ReadonlyArray<string> => {
  const text = parameters.get(quirks.includes("scopes_elsewhere") ? "user_scope" : "scope") ?? ""
  return text.split(quirks.includes("scopes_by_comma") ? "," : " ").filter((one) => one !== "")
}

/** The parameters of a request as this provider reads them; undefined when it does not. */
export const parametersOf = (
  request: {
    readonly body: string
    readonly form: URLSearchParams
    readonly headers: Readonly<Record<string, unknown>>
  },
  quirks: Quirks
): URLSearchParams | undefined => {
  if (!quirks.includes("json_requests")) return request.form
  if (!String(request.headers["content-type"]).startsWith("application/json")) return undefined
  const members: unknown = JSON.parse(request.body)
  return typeof members === "object" && members !== null
    ? new URLSearchParams(Object.entries(members).map(([name, value]): [string, string] => [name, String(value)]))
    : undefined
}

/** Whether this provider refuses a request for naming a resource. */
export const refusesResource = (parameters: URLSearchParams, quirks: Quirks): boolean =>
  quirks.includes("refuses_resource") && parameters.has("resource")

/** What this provider makes of the tokens that it issues; `again` at a refresh. */
export const issued = (
  tokens: Readonly<Record<string, unknown>>,
  again: boolean,
  quirks: Quirks
): Readonly<Record<string, unknown>> => {
  const members: Record<string, unknown> = { ...tokens }
  if (quirks.includes("no_lifetime")) delete members["expires_in"]
  if (quirks.includes("zero_lifetime")) members["expires_in"] = 0
  if (quirks.includes("no_token_type")) delete members["token_type"]
  if (quirks.includes("other_token_type")) members["token_type"] = "user"
  if (again && quirks.includes("no_refresh_token_again")) delete members["refresh_token"]
  if (quirks.includes("comma_scopes") && typeof members["scope"] === "string") {
    members["scope"] = members["scope"].replaceAll(" ", ",")
  }
  return quirks.includes("nested_tokens") && !again
    ? { ok: true, access_token: "bot-token-nobody-asked-for", token_type: "bot", scope: "bot", authed_user: members }
    : members
}

/** How this provider writes an answer of its token endpoint. */
export const written = (answer: Answer, quirks: Quirks): Answer => {
  const status = answer.status >= 400 && answer.status < 500 && quirks.includes("error_in_success")
    ? 200
    : answer.status
  if (!quirks.includes("form_encoded")) return { ...answer, status }
  const members = Object.entries(JSON.parse(String(answer.body)) as Readonly<Record<string, unknown>>)
  return {
    status,
    headers: { ...answer.headers, "content-type": "application/x-www-form-urlencoded; charset=utf-8" },
    body: new URLSearchParams(members.map(([name, value]): [string, string] => [name, String(value)])).toString()
  }
}
