// SPDX-License-Identifier: Apache-2.0
// The border to C++, part two: encrypting and decrypting the packets of capture files.
import type { ModeName } from '../../services/shared/modes.js';

/** What making one capture file into another needs. */
export interface TranscodeOptions {
  /** Open descriptors, read and written from where they stand; the caller closes them. */
  input: number;
  output: number;
  /** Master keys 0 and 1, 64 octets; copied into locked memory and wiped here. */
  masterKeys: Uint8Array;
  /** How to encrypt; absent: decrypt. */
  encrypt?: SealOptions;
  /** Leave out a frame that cannot be encrypted or does not open, and go on. */
  skipBad?: boolean;
  /** Encrypting: a frame without IP cannot be encrypted, rather than copied in the clear. */
  strict?: boolean;
}

export interface SealOptions {
  /** Its low 31 bits are not zero. */
  spi: number;
  mode: ModeName;
  /** 0 to 3. */
  version: number;
  /** In 4-octet units from the end of the IV, 0 to 63; 0 in versions 2 and 3. */
  cryptOffset: number;
  /** The virtualization cookie. */
  cookie?: bigint;
  /** Of the first packet. */
  iv: bigint;
  /** Addresses of one family, 16 octets each, for tunnel mode; absent: those of each packet. */
  outer?: { source: Uint8Array; destination: Uint8Array };
}

export interface TranscodeCounts {
  format: 'pcap' | 'pcapng';
  frames: number;
  /** Frames encrypted or decrypted, by mode. */
  tunnel: number;
  transport: number;
  /** Frames without IP (encrypting) or without PSP (decrypting), and their number by what they are. */
  copied: number;
  copiedKinds: { kind: string; frames: number }[];
  /** Frames left out under skipBad, and the first 1000 of them. */
  skipped: number;
  skippedFrames: { frame: number; detail: string }[];
  /** Frames whose IPv4 header checksum or IP length the capturing host had left to its interface. */
  completed: number;
  /** Link padding and frame check sequences behind packets, left out. */
  paddingOctets: number;
  /** Blocks of pcapng that are neither section nor interface nor frame. */
  leftOut: number;
  /** After encrypting: the IV behind the last one used, if there is one. */
  nextIv?: bigint;
}
