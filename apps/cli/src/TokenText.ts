import type { Token } from "./Wire.ts"

/** The value of an Authorization header. */
export const authorizationOf = ({ accessToken, tokenType }: Pick<Token, "accessToken" | "tokenType">): string =>
  `${tokenType.toLowerCase() === "bearer" ? "Bearer" : tokenType} ${accessToken}`

/** What `token` prints: as a document, and as text (the token, or a ready header). */
export const render = (
  server: string,
  { accessToken, expiresAt, generation, scopes, tokenType }: Token,
  asHeader: boolean
): { readonly document: Readonly<Record<string, unknown>>; readonly text: string } => {
  const header = `Authorization: ${authorizationOf({ accessToken, tokenType })}`
  return {
    document: {
      ok: true,
      server,
      accessToken,
      tokenType,
      ...(asHeader ? { header } : {}),
      ...(expiresAt === undefined ? {} : { expiresAt }),
      ...(scopes === undefined ? {} : { scopes }),
      generation
    },
    text: asHeader ? header : accessToken
  }
}
