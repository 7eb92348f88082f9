// SPDX-License-Identifier: Apache-2.0
// The set-up of tests that need one key exchange each: node a, under an authority for the whole file.
import { afterEach, beforeAll, beforeEach } from 'vitest';
import { Authority } from './certificates.js';
import { freePorts, startNode, type TestNode, unhurried } from './rig.js';

interface Made {
  authority: Authority;
  /** Of a, and a free one for its peer b. */
  ports: Record<string, number>;
  a: TestNode;
}

/**
 * Starts node a before each test of the file.
 * @param use receives it. @returns what is closed after the test, last first; the test adds to it.
 */
export function nodeOfEachTest(use: (made: Made) => void): (() => unknown)[] {
  const closing: (() => unknown)[] = [];
  let authority: Authority;
  beforeAll(async () => {
    authority = await Authority.create();
  });
  beforeEach(async () => {
    const ports = await freePorts('a', 'b');
    const a = await startNode('a', authority, { ports, times: unhurried });
    closing.push(() => a.stop());
    use({ authority, ports, a });
  });
  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });
  return closing;
}
