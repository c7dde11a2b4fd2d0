import type { Token } from "./Wire.ts"

/** What `token` prints: as a document, and as text (the token, or a ready header). */
export const render = (
  server: string,
  { accessToken, expiresAt, generation, scopes, tokenType }: Token,
  asHeader: boolean
): { readonly document: Readonly<Record<string, unknown>>; readonly text: string } => {
  const scheme = tokenType.toLowerCase() === "bearer" ? "Bearer" : tokenType
  const header = `Authorization: ${scheme} ${accessToken}`
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
