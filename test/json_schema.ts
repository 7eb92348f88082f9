// SPDX-License-Identifier: Apache-2.0
// Validates output against its schema docs/schemas/<name>.json, where the name of a command has _ for its spaces.
// Schemas allow no other keys, so that undocumented additions are found.
import { readFileSync } from 'node:fs';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import { fromPackageRoot } from '../services/shared/process/package_root.js';

const ajv = new Ajv2020({ strict: true, strictTypes: false, allErrors: true });
const compiled = new Map<string, ValidateFunction>();

/**
 * @throws Error if there is no such schema, or it is invalid.
 */
export function schemaOf(name: string): ValidateFunction {
  const known = compiled.get(name);
  if (known) return known;
  const text = readFileSync(fromPackageRoot(`docs/schemas/${name}.json`), 'utf8');
  const validate = ajv.compile(JSON.parse(text));
  compiled.set(name, validate);
  return validate;
}

/**
 * @throws Error with every fault of `value` against the schema.
 */
export function expectSchema(name: string, value: unknown): void {
  const validate = schemaOf(name);
  if (validate(value)) return;
  const faults = (validate.errors ?? []).map(
    ({ instancePath, message, params }) => `${instancePath || '/'} ${message} ${JSON.stringify(params)}`,
  );
  throw new Error(`${name} does not keep to its schema:\n${faults.join('\n')}`);
}
