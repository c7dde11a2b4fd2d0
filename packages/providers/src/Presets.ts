import { Schema } from "effect"
import { catalogue } from "./internal/catalogue.ts"
import { Preset } from "./Preset.ts"

/** Every preset of this package, by id. A mistake in one of them is a mistake of this package and dies here. */
export const all: ReadonlyArray<Preset> = Schema.decodeUnknownSync(Schema.Array(Preset))(catalogue)

/** The preset of a provider. */
export const find = (id: string): Preset | undefined => all.find((preset) => preset.id === id)
