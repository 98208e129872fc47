/** Pictures in the workspace that a job can start from. */

export interface Uploaded {
  sha256: string;
  width: number;
  height: number;
  url: string;
  /** Hash and address of a mask of its transparent parts. */
  mask?: string | null;
  mask_url?: string | null;
}

export function isUploaded(value: unknown): value is Uploaded {
  return typeof value === "object" && value !== null && typeof (value as Uploaded).sha256 === "string";
}

/** A mask of what is transparent in a picture, as other tools save them: there the change is wanted. */
export function maskOf(picture: Uploaded | null): Uploaded | null {
  return picture?.mask ? { ...picture, sha256: picture.mask, url: picture.mask_url ?? "" } : null;
}
