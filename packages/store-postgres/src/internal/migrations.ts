import type { Migration } from "../Migrations.ts"
import { migration1 } from "./migration1.ts"
import { migration10 } from "./migration10.ts"
import { migration11 } from "./migration11.ts"
import { migration12 } from "./migration12.ts"
import { migration13 } from "./migration13.ts"
import { migration14 } from "./migration14.ts"
import { migration16 } from "./migration16.ts"
import { migration19 } from "./migration19.ts"
import { migration2 } from "./migration2.ts"
import { migration20 } from "./migration20.ts"
import { migration23 } from "./migration23.ts"
import { migration26 } from "./migration26.ts"
import { migration3 } from "./migration3.ts"
import { migration30 } from "./migration30.ts"
import { migration4 } from "./migration4.ts"
import { migration6 } from "./migration6.ts"
import { migration7 } from "./migration7.ts"
import { migration8 } from "./migration8.ts"
import { migration9 } from "./migration9.ts"

/** Every migration in the order of its id. A released one is never edited; a new one is added. */
export const migrations: ReadonlyArray<Migration> = [
  migration1,
  migration2,
  migration3,
  migration4,
  migration6,
  migration7,
  migration8,
  migration9,
  migration10,
  migration11,
  migration12,
  migration13,
  migration14,
  migration16,
  migration19,
  migration20,
  migration23,
  migration26,
  migration30
]
