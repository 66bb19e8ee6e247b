import com.jayway.jsonpath.JsonPath;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/** Reads answers of a reranker, one a line, as ml-commons does: its casts, its array, its unboxing. */
public class Similarities {
  public static void main(String[] arguments) throws Exception {
    var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      try {
        System.out.println(Arrays.toString(scores(line, arguments[0])));
      } catch (RuntimeException error) {
        System.out.println(error.getClass().getSimpleName());
      }
    }
  }

  static double[] scores(String answer, String path) {
    List<?> results = JsonPath.parse(answer).read(path);
    Double[] scores = new Double[results.size()];
    for (Object result : results) {
      Map<?, ?> one = (Map<?, ?>) result;
      scores[(Integer) one.get("index")] = (Double) one.get("relevance_score");
    }
    return Arrays.stream(scores).mapToDouble(score -> score).toArray();
  }
}
