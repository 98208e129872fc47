/** Binary preview frames of the browser socket: version, index, 30 bytes job id, then a picture. */

const VERSION = 1;
const ID_BYTES = 30;
const HEAD = 2 + ID_BYTES;

export interface PreviewFrame {
  job: string;
  index: number;
  picture: Blob;
}

/** Read a frame; null for anything that is not one of version 1. */
export function decodeFrame(buffer: ArrayBuffer): PreviewFrame | null {
  const bytes = new Uint8Array(buffer);
  if (bytes.length <= HEAD || bytes[0] !== VERSION) return null;
  const id = bytes.subarray(2, HEAD);
  if (id.some((byte) => byte > 127)) return null;
  const payload = bytes.slice(HEAD);
  return {
    job: String.fromCharCode(...id),
    index: bytes[1] ?? 0,
    picture: new Blob([payload], { type: pictureType(payload) }),
  };
}

function pictureType(bytes: Uint8Array): string {
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return "image/jpeg";
  if (bytes[0] === 0x89 && bytes[1] === 0x50) return "image/png";
  return "image/webp";
}
