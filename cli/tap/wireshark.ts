// SPDX-License-Identifier: Apache-2.0
// Wireshark, or tshark, as the reader of `psp tap samples --wireshark`: a process in its own session with our
// dissector, which receives pcapng through its standard input. When the tap ends, its input ends: the command waits
// for tshark, and Wireshark stays open with the samples it has.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { basename } from 'node:path';
import type { Writable } from 'node:stream';
import type { Chunk } from '../../services/shared/backlog.js';
import { PspError } from '../../services/shared/errors.js';
import { Gone, type Outlet } from '../../services/shared/process/outlet.js';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';

const dissector = fromPackageRoot('docs/wireshark/psp.lua');

/** Whether it prints to our standard output instead of opening a window. */
const prints = (program: string): boolean => basename(program).startsWith('tshark');

export class Wireshark {
  readonly outlet: Outlet;
  /** Resolves when it has ended, with any result. */
  readonly ended: Promise<void>;
  /** How it ended, if that was a failure. */
  fault: string | undefined;

  private constructor(
    private readonly program: string,
    private readonly process: ChildProcess,
    private readonly input: Writable,
  ) {
    this.outlet = new InputOutlet(input);
    this.ended = once(process, 'exit').then(([code, signal]) => {
      if (code !== 0) this.fault = signal ?? `exit code ${code}`;
    });
  }

  /**
   * @param program "wireshark", "tshark" or the path of one of them.
   * @throws PspError FILE_UNREADABLE when it cannot be run.
   */
  static async start(program: string): Promise<Wireshark> {
    const live = prints(program) ? '-l' : '-k';
    // In its own session, so that a Ctrl-C at the terminal reaches only this process.
    const child = spawn(program, [live, '-i', '-', '-X', `lua_script:${dissector}`], {
      stdio: ['pipe', 'inherit', 'inherit'],
      detached: true,
    });
    try {
      await once(child, 'spawn');
    } catch (cause) {
      throw unusable(program, (cause as NodeJS.ErrnoException).code ?? 'error', cause);
    }
    return new Wireshark(program, child, child.stdin as Writable);
  }

  /** No further input follows. Resolves when the command does not need to wait any longer. */
  async close(): Promise<void> {
    this.input.destroy();
    if (prints(this.program)) await this.ended;
    else this.process.unref();
  }
}

/** A process's standard input. A chunk that it no longer reads results in Gone. */
class InputOutlet implements Outlet {
  constructor(private readonly input: Writable) {
    // Also reported to the callback.
    input.on('error', () => undefined);
  }

  write({ octets, length }: Chunk): Promise<void> {
    return new Promise((resolve, reject) => {
      this.input.write(octets.subarray(0, length), (error) =>
        error ? reject(new Gone((error as NodeJS.ErrnoException).code ?? 'EPIPE')) : resolve(),
      );
    });
  }
}

function unusable(program: string, code: string, cause: unknown): PspError {
  const debianPackage = prints(program) ? 'tshark' : 'wireshark';
  const remedy =
    `install it (Debian: apt install ${debianPackage}), or write the samples to a file and open it elsewhere: ` +
    `psp tap samples -w FILE, then wireshark -X lua_script:${dissector} FILE`;
  const detail = code === 'ENOENT' ? 'there is no such program' : code;
  return new PspError('FILE_UNREADABLE', { file: program, detail, remedy }, { cause });
}
