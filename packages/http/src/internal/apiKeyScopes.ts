import { ApiScope } from "@valetkey/api/Principal"
import type { ApiKey } from "@valetkey/domain/ApiKey"

/** The scopes of a key that mean something here. */
export const scopesOf = ({ scopes }: ApiKey): ReadonlyArray<ApiScope> =>
  ApiScope.literals.filter((scope) => scopes.includes(scope))
