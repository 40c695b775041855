{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  entry =
    {
      name,
      config,
      options,
      ...
    }:
    {
      options = {
        enable = mkOption {
          type = types.bool;
          default = true;
        };
        target = mkOption {
          type = types.str;
          default = name;
        };
        mode = mkOption {
          type = types.str;
          default = "symlink";
        };
        text = mkOption {
          type = types.nullOr types.lines;
          default = null;
        };
        source = mkOption { type = types.path; };
      };
      config.source = lib.mkIf (config.text != null) (
        lib.mkOverride (options.text.highestPrio) (
          pkgs.writeText ("etc-" + builtins.replaceStrings [ "/" " " ] [ "-" "-" ] name) config.text
        )
      );
    };
  enabled = lib.filter (e: e.enable) (lib.attrValues config.environment.etc);
in
{
  options.environment = {
    etc = mkOption {
      type = types.attrsOf (types.submodule entry);
      default = { };
    };
    variables = mkOption {
      type = types.attrsOf (
        types.nullOr (types.oneOf [
          (types.listOf types.str)
          types.int
          types.str
        ])
      );
      default = { };
    };
  };

  config = {
    environment.etc.set-environment.text = lib.concatStrings (
      lib.mapAttrsToList (
        n: v:
        lib.optionalString (v != null)
          "export ${n}=${lib.escapeShellArg (lib.concatMapStringsSep ":" toString (lib.toList v))}\n"
      ) config.environment.variables
    );
    system.build.etc = pkgs.store.etc (
      lib.listToAttrs (map (e: lib.nameValuePair e.target e.source) enabled)
    );
    system.activationScripts.etc = ''
      echo "setting up /etc..."
      mkdir -p /etc/systemd
      cd ${config.system.build.etc}/etc
      find . -type l -printf '%P %l\n' | {
        failed=
        while read -r name target; do
          case $name in */*) [ -d "/etc/''${name%/*}" ] || mkdir -p "/etc/''${name%/*}" ;; esac
          # Like setup-etc.pl, ln makes a new link and renames it over the old
          # one, and the message goes to standard error.
          ln -sfn "$target" "/etc/$name" || { echo "cannot set /etc/$name" >&2; failed=1; }
        done
        [ -z "$failed" ]
      } || failed=1
      cd /
      ln -sfn ${config.system.build.etc}/etc /etc/static
      [ -z "''${failed-}" ] || exit 1
    '';
  };
}
