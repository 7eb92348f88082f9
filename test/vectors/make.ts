// SPDX-License-Identifier: Apache-2.0
// Writes the vector files: `node dist/test/vectors/make.js`. A test compares its output with the committed files.
import { writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { type Case, rowOf } from './cases.js';
import type { Mode } from './packet.js';
import { receivedCases } from './received_cases.js';
import { sealHeading, sealRows } from './seal_cases.js';
import { writeTable } from './table.js';
import { transportCases } from './transport_cases.js';
import { tunnelCases } from './tunnel_cases.js';

const heading = (mode: Mode): string => `SPDX-License-Identifier: Apache-2.0
Packets in PSP ${mode} mode, made by test/vectors/make.ts; run by test/native/psp/vectors_test.cc and by
test/vectors/packets.test.ts. direction "open": only to be opened. The top bit of the SPI selects master0 or
master1. Numbers: spi, iv and all octets in hex. crypt_offset in units of 4 octets from the end of the IV.`;

const table = (mode: Mode, cases: Case[]): string =>
  writeTable(heading(mode), [...cases, ...receivedCases()].filter((one) => one.mode === mode).map(rowOf));

/** File contents by path from the root of the package. */
export const vectorFiles: Readonly<Record<string, () => string>> = {
  'test/vectors/tunnel.txt': () => table('tunnel', tunnelCases()),
  'test/vectors/transport.txt': () => table('transport', transportCases()),
  'test/vectors/seal.txt': () => writeTable(sealHeading, sealRows()),
};

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  for (const [path, contents] of Object.entries(vectorFiles))
    writeFileSync(fromPackageRoot(path), contents());
}
