/** A connection whose access token is over. */
export interface Prepared {
  readonly name: string
  readonly accessToken: string
  readonly refreshToken: string
}

/** What a replica of the bench is told to do. It answers with `{ done }`. */
export type Order =
  | { readonly do: "prepare"; readonly rows: ReadonlyArray<Prepared> }
  /** So many callers at once, spread over the names. */
  | { readonly do: "ask"; readonly names: ReadonlyArray<string>; readonly callers: number }

/** What came of asking: until the last caller had a token, and the distinct tokens. */
export interface Asked {
  readonly seconds: number
  readonly tokens: ReadonlyArray<string>
}
