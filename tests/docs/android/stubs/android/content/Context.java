package android.content;

import android.content.pm.ApplicationInfo;
import android.content.res.AssetManager;
import java.io.File;

/** A stub of Android's class: what docs/android.md uses of it. */
public abstract class Context {
    public abstract File getFilesDir();

    public abstract AssetManager getAssets();

    public abstract ApplicationInfo getApplicationInfo();
}
