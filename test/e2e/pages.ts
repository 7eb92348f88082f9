// SPDX-License-Identifier: Apache-2.0
// Requests the pages of a node's stats service from within the gateway's namespace.
import { exposed } from '../adapters/stats/rig.js';
import type { Gateway } from './gateway.js';

export interface Page {
  status: number;
  body: string;
}

const usual = '127.0.0.1:9464';

/** Undefined if no process serves it. */
export async function page({ namespace }: Gateway, path: string, listen = usual): Promise<Page | undefined> {
  const script = `fetch('http://${listen}${path}').then(async (answer) => {
    process.stdout.write(JSON.stringify({ status: answer.status, body: await answer.text() }));
  })`;
  const { code, stdout } = await namespace.try(process.execPath, ['-e', script], 10_000);
  return code === 0 ? (JSON.parse(stdout) as Page) : undefined;
}

/** The metrics, by name and labels; empty if no process serves them. */
export async function series(gateway: Gateway, listen = usual): Promise<Record<string, number>> {
  const answer = await page(gateway, '/metrics', listen);
  return answer === undefined ? {} : exposed(answer.body).series;
}
